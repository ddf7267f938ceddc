// Plain reads: rows, views, schemas, counts, heads.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AUTHORS, answers, author, db, onPostgres, refuses } from '../harness.mjs'

answers('a table', (db) => db.from('authors').select(), { data: AUTHORS })
answers('a star', (db) => db.from('authors').select('*'), { data: AUTHORS })
answers('a view', (db) => db.from('author_names').select().order('name').limit(2), {
  data: [
    { name: 'austen', one: 1 },
    { name: 'dickens', one: 1 },
  ],
})
answers('aliases and casts', (db) => db.from('books').select('n:title, shelf_id::text').eq('id', 1), {
  data: [{ n: 'Germinal ⚒', shelf_id: '1' }],
})
answers('the same column twice', (db) => db.from('books').select('id, id').eq('id', 1), { data: [{ id: 1 }] })
answers('a column with a blank in its name', (db) => db.from('oddities').select('"two words", id').eq('id', 1), {
  data: [{ 'two words': null, id: 1 }],
})
answers('inside JSON', (db) => db.from('authors').select('year:facts->born->>year, facts->born->in').eq('name', 'joyce'), {
  data: [{ year: '1882', in: { city: 'Dublin' } }],
})
answers('a computed column', (db) => db.from('books').select('id, blurb').limit(2), {
  data: [
    { id: 1, blurb: 'Ger' },
    { id: 2, blurb: 'I a' },
  ],
})
answers('a computed column is not part of the star', (db) => db.from('portraits').select().limit(1), { data: [{ id: 1, author: 'zola' }] })
answers('a filter and an order on a computed column', (db) => db.from('books').select('id').neq('blurb', 'I a').order('blurb').limit(1), {
  data: [{ id: 1 }],
})
answers('no match', (db) => db.from('authors').select().eq('name', 'nobody'), { data: [] })
answers('another schema', (db) => db.schema('archive').from('authors').select('name'), {
  data: [{ name: 'zola' }, { name: 'kafka' }, { name: 'homer' }],
})
answers('another schema has its own functions', (db) => db.schema('archive').rpc('state_of', { who: 'homer' }), { data: 'WRITING' })
refuses('a schema that is not served', (db) => db.schema('secret').from('authors').select(), 406, { code: 'PGRST106' })
refuses('an unknown table', (db) => db.from('autors').select(), 404, {
  code: 'PGRST205',
  message: "Could not find the table 'public.autors' in the schema cache",
})
refuses('an unknown column', (db) => db.from('authors').select('nmae'), 400, {
  code: '42703',
  message: 'column authors.nmae does not exist',
})
refuses('a selection that does not parse', (db) => db.from('authors').select('name,,state)'), 400, { code: 'PGRST100' })

answers('head', (db) => db.from('authors').select('*', { head: true }), { data: null })
answers('head with an exact count', (db) => db.from('authors').select('*', { head: true, count: 'exact' }), { data: null, count: 5 })
test('head with a planned count', async () => {
  const { data, count } = await db.from('authors').select('*', { head: true, count: 'planned' })
  assert.equal(data, null)
  // Statistics of Postgres, which nobody has gathered yet; counted exactly elsewhere.
  if (onPostgres) assert.ok(count > 0)
  else assert.equal(count, 5)
})
answers('head with an estimated count', (db) => db.from('authors').select('*', { head: true, count: 'estimated' }), { data: null, count: 5 })
answers('rows with an exact count', (db) => db.from('authors').select('*', { count: 'exact' }), { data: AUTHORS, count: 5 })
answers('a page with an exact count', (db) => db.from('authors').select('*', { count: 'exact' }).eq('state', 'WRITING').limit(1), {
  status: 206,
  data: [author('zola')],
  count: 4,
})
refuses('a page past the end, counted', (db) => db.from('authors').select('*', { count: 'exact' }).range(50, 60), 416, { code: 'PGRST103' })
