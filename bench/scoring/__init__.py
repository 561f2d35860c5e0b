"""How good are the scores? `python -m bench.scoring` measures it and writes RESULTS.md.

    traffic · real ──▶ histories ──▶ methods · rivals ──z──▶ judging ──▶ report

Every method scores the same histories, by the days before each bucket and nothing later. Histories are simulated and,
where the real call-centre data lies beside the project, real. The seeds of the table were not used for tuning; at the
real records we looked, for want of others.
"""
