// client_golang's own handler with the same series: main PORT FILE, where FILE is the text that our server gives.
package main

import (
	"bufio"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

func main() {
	file, err := os.Open(os.Args[2])
	if err != nil {
		panic(err)
	}
	registry := prometheus.NewRegistry()
	families := map[string]*prometheus.GaugeVec{}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		// name{queue_id="a",queue_name="b",media_type="c"} value: no quotes within the values
		parts := strings.Split(lines.Text(), "\"")
		if len(parts) != 7 || !strings.HasSuffix(parts[0], "{queue_id=") {
			continue
		}
		name := strings.Split(parts[0], "{")[0]
		if families[name] == nil {
			families[name] = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: "x"},
				[]string{"queue_id", "queue_name", "media_type"})
			registry.MustRegister(families[name])
		}
		value, err := strconv.ParseFloat(strings.TrimPrefix(parts[6], "} "), 64)
		if err != nil {
			panic(err)
		}
		families[name].WithLabelValues(parts[1], parts[3], parts[5]).Set(value)
	}
	http.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	panic(http.ListenAndServe("127.0.0.1:"+os.Args[1], nil))
}
