// All cases in one process, one after the other: they share a database.

await import('./cases/reads.mjs')
await import('./cases/filters.mjs')
await import('./cases/transforms.mjs')
await import('./cases/relationships.mjs')
await import('./cases/joins.mjs')
await import('./cases/aggregates.mjs')
await import('./cases/embedding.mjs')
await import('./cases/rpc.mjs')
await import('./cases/writes.mjs')
await import('./cases/max_affected.mjs')
await import('./cases/client.mjs')
