// Calls of functions.

import { answers, author, db, refuses } from '../harness.mjs'

const call = (db) => db.rpc('name_and_state', { who: 'zola' })

answers('a scalar', (db) => db.rpc('state_of', { who: 'zola' }), { data: 'WRITING' })
answers('void', (db) => db.rpc('nothing'), { status: 204, data: null })
answers('rows', call, { data: [{ name: 'zola', state: 'WRITING' }] })
answers('select without arguments', (db) => call(db).select(), { data: [{ name: 'zola', state: 'WRITING' }] })
answers('select a star', (db) => call(db).select('*'), { data: [{ name: 'zola', state: 'WRITING' }] })
answers('select a column', (db) => call(db).select('name'), { data: [{ name: 'zola' }] })
answers('select columns', (db) => call(db).select('state, name'), { data: [{ state: 'WRITING', name: 'zola' }] })
answers('select under another name', (db) => call(db).select('who:name'), { data: [{ who: 'zola' }] })
answers('select with a cast', (db) => call(db).select('state::text'), { data: [{ state: 'WRITING' }] })
answers('select with an aggregate', (db) => call(db).select('name.count(), state'), { data: [{ count: 1, state: 'WRITING' }] })
answers('filter, order and limit', (db) => db.rpc('retire_like', { pattern: '%e%' }).neq('name', 'joyce').order('name').limit(1).select('name').rollback(), {
  data: [{ name: 'austen' }],
})
answers('by GET', (db) => db.rpc('state_of', { who: 'zola' }, { get: true }), { data: 'WRITING' })
answers('by GET, a default argument', (db) => db.rpc('greeting', {}, { get: true }), { data: '' })
answers('by GET, the argument given', (db) => db.rpc('greeting', { word: 'hi there' }, { get: true }), { data: 'hi there' })
answers('by GET, an array', (db) => db.rpc('takes_ids', { ids: ['00000000-0000-0000-0000-000000000000'] }, { get: true }), {
  status: 204,
  data: null,
})
answers('counted', (db) => db.rpc('state_of', { who: 'zola' }, { count: 'exact' }), { data: 'WRITING', count: 1 })
answers('counted, rows', (db) => db.rpc('name_and_state', { who: 'zola' }, { count: 'exact' }), {
  data: [{ name: 'zola', state: 'WRITING' }],
  count: 1,
})
answers('counted, by HEAD', (db) => db.rpc('state_of', { who: 'zola' }, { head: true, count: 'exact' }), { data: null, count: 1 })
answers('counted, by GET', (db) => db.rpc('state_of', { who: 'zola' }, { get: true, count: 'exact' }), { data: 'WRITING', count: 1 })
answers('a single object', (db) => call(db).single(), { data: { name: 'zola', state: 'WRITING' } })
answers('one that writes returns its rows', (db) => db.rpc('retire_like', { pattern: 'zo%' }).rollback(), {
  data: [{ ...author('zola'), state: 'RESTING' }],
})
answers('embedded rows of what it returns', (db) => db.rpc('retire_like', { pattern: 'zo%' }).select('name, portraits(id)').rollback(), {
  data: [{ name: 'zola', portraits: [{ id: 1 }] }],
})
refuses('one that writes, by GET', () => db.rpc('retire', { who: 'zola' }, { get: true }), 405, { code: /25006|PGRST/ })
refuses('an unknown function', (db) => db.rpc('state_off', { who: 'zola' }), 404, { code: 'PGRST202' })
refuses('an unknown argument', (db) => db.rpc('state_of', { whom: 'zola' }), 404, { code: 'PGRST202' })
refuses('an argument of the wrong type', (db) => db.rpc('takes_ids', { ids: ['x'] }), 400, { code: '22P02' })
