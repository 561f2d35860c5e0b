"""In: the client of the Genesys Cloud API.

    credentials → auth → transport → (queues | aggregates | observations | summary) → source

Times and queue selections come in, the tables of `exporter.models` go out. The vendor's spelling (`nOffered`,
`tAbandon`, `mediaType`) stops in this folder. Nothing here scores, stores or publishes.
"""
