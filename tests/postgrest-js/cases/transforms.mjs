// Order, pages, single objects, CSV, aborting, rolling back.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AUTHORS, BOOKS, answers, author, db, names, refuses } from '../harness.mjs'

answers('order', (db) => db.from('authors').select('name').order('name', { ascending: false }), names('zola', 'kafka', 'joyce', 'dickens', 'austen'))
answers('order by several columns', (db) => db.from('books').select('title, id').order('title').order('id', { ascending: false }), {
  data: [
    { title: 'Germinal ⚒', id: 1 },
    { title: 'I accuse', id: 2 },
    { title: 'Without a cover', id: 4 },
    { title: 'Without a cover', id: 3 },
  ],
})
answers('order with NULLs first', (db) => db.from('rooms').select('name').order('name', { nullsFirst: true }), {
  data: [{ name: null }, { name: 'attic' }, { name: 'north' }, { name: 'south' }],
})
answers('order with NULLs last', (db) => db.from('rooms').select('name').order('name', { ascending: false, nullsFirst: false }), {
  data: [{ name: 'south' }, { name: 'north' }, { name: 'attic' }, { name: null }],
})
answers('order inside JSON', (db) => db.from('authors').select('name').order('facts->born->>year').limit(1), names('joyce'))
answers('order by an enum is by its labels\' positions', (db) => db.from('authors').select('name').order('state').order('name').limit(1), names('austen'))
answers('limit', (db) => db.from('authors').select().limit(1), { data: [author('zola')] })
answers('limit 0', (db) => db.from('authors').select().limit(0), { data: [] })
answers('range', (db) => db.from('authors').select().range(1, 3), { data: AUTHORS.slice(1, 4) })
answers('range beyond the end', (db) => db.from('authors').select().range(4, 9), { data: AUTHORS.slice(4) })
answers('without an order, rows come as they were inserted', (db) => db.from('authors').select('name'), names('zola', 'kafka', 'austen', 'dickens', 'joyce'))

answers('single', (db) => db.from('authors').select().limit(1).single(), { data: author('zola') })
answers('single on an insert', (db) => db.from('portraits').insert({ id: 9, author: 'joyce' }).select().single().rollback(), {
  status: 201,
  data: { id: 9, author: 'joyce' },
})
refuses('single with several rows', (db) => db.from('authors').select().single(), 406, {
  code: 'PGRST116',
  details: 'The result contains 5 rows',
  message: 'Cannot coerce the result to a single JSON object',
})
refuses('single with no row', (db) => db.from('authors').select().eq('name', 'nobody').single(), 406, {
  code: 'PGRST116',
  details: 'The result contains 0 rows',
})
answers('maybeSingle with a row', (db) => db.from('authors').select().eq('name', 'zola').maybeSingle(), { data: author('zola') })
answers('maybeSingle without a row', (db) => db.from('authors').select().eq('name', 'nobody').maybeSingle(), { data: null })
refuses('maybeSingle with several rows', (db) => db.from('authors').select().maybeSingle(), 406, { code: 'PGRST116' })
refuses('maybeSingle on an insert of several', (db) => db.from('portraits').insert([{ id: 8 }, { id: 9 }]).select().maybeSingle(), 406, {
  code: 'PGRST116',
  details: 'The result contains 2 rows',
})
answers('what was refused as no single object was not written', (db) => db.from('portraits').select('id').in('id', [8, 9]), { data: [] })

answers('select on an insert', (db) => db.from('portraits').insert({ id: 9, author: 'joyce' }).select('author').rollback(), {
  status: 201,
  data: [{ author: 'joyce' }],
})
answers('select on a call', (db) => db.rpc('name_and_state', { who: 'zola' }).select('state'), { data: [{ state: 'WRITING' }] })
answers('CSV', (db) => db.from('authors').select('name, facts, years, motto').neq('name', 'austen').csv(), {
  data: [
    'name,facts,years,motto',
    `zola,,"[1,2)","'ink' 'pen'"`,
    `kafka,,"[25,35)","'dog' 'pen'"`,
    `dickens,,"[20,30)","'ink' 'tea'"`,
    `joyce,"{""born"": {""in"": {""city"": ""Dublin""}, ""year"": ""1882""}}","[20,30)","'river' 'run'"`,
  ].join('\n'),
})

test('an aborted request is an error of the client', async () => {
  const stop = new AbortController()
  stop.abort()
  const { error, data } = await db.from('authors').select().abortSignal(stop.signal)
  assert.equal(data, null)
  assert.match(error.message, /abort/i)
})
refuses('a plan is not shown unless allowed', (db) => db.from('authors').select().explain({ format: 'json' }), 406, { code: 'PGRST107' })
refuses('GeoJSON is another media type', (db) => db.from('rooms').select().geojson(), 406, { code: 'PGRST107' })

answers('rolled back: insert', (db) => db.from('books').insert({ title: 'x', author: 'zola', shelf_id: 1 }).select('title').rollback(), {
  status: 201,
  data: [{ title: 'x' }],
})
answers('rolled back: upsert', (db) => db.from('books').upsert({ id: 1, title: 'x', author: 'zola', shelf_id: 1 }).select('title').rollback(), {
  status: 200,
  data: [{ title: 'x' }],
})
answers('rolled back: update', (db) => db.from('authors').update({ state: 'RESTING' }).eq('name', 'zola').select('state').rollback(), {
  data: [{ state: 'RESTING' }],
})
answers('rolled back: call', (db) => db.rpc('retire', { who: 'zola' }).rollback(), { data: 'RESTING' })
answers('rolled back: delete', (db) => db.from('books').delete().eq('id', 4).select('id').rollback(), { data: [{ id: 4 }] })
answers('nothing rolled back is there: books', (db) => db.from('books').select(), { data: BOOKS })
answers('nothing rolled back is there: authors', (db) => db.from('authors').select(), { data: AUTHORS })
