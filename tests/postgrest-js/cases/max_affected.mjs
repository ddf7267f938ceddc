// At most so many rows, or none.

import { answers, refuses } from '../harness.mjs'

refuses('update of too many', (db) => db.from('books').update({ facts: 1 }).gt('id', 1).maxAffected(2), 400, {
  code: 'PGRST124',
  message: 'Query result exceeds max-affected preference constraint',
  details: 'The query affects 3 rows',
})
answers('nothing of it was written', (db) => db.from('books').select('id').not('facts', 'is', null), { data: [] })
answers('update of few enough', (db) => db.from('books').update({ facts: 1 }).gt('id', 2).maxAffected(2).select('id').rollback(), {
  data: [{ id: 3 }, { id: 4 }],
})
refuses('delete of too many', (db) => db.from('books').delete().gt('id', 1).maxAffected(2), 400, { code: 'PGRST124' })
answers('delete of few enough', (db) => db.from('books').delete().gt('id', 3).maxAffected(1).select('id').rollback(), { data: [{ id: 4 }] })
answers('a call within it', (db) => db.rpc('retire_like', { pattern: '%kafka%' }).maxAffected(1).select('name').rollback(), {
  data: [{ name: 'kafka' }],
})
refuses('a call beyond it', (db) => db.rpc('retire_like', { pattern: '%e%' }).maxAffected(1), 400, { code: 'PGRST124' })
answers('the call beyond it wrote nothing', (db) => db.from('authors').select('name').eq('state', 'RESTING'), { data: [{ name: 'kafka' }] })
