// What the client itself does with our answers: headers, errors that are thrown, its own fetch.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { PostgrestClient } from '@supabase/postgrest-js'
import { answers, author, db, url } from '../harness.mjs'

test('headers of the client reach every request, and a call may have its own', async () => {
  const seen = []
  const client = new PostgrestClient(url, {
    headers: { 'x-shop': 'one', Prefer: 'tx=rollback' },
    fetch: (address, init) => {
      seen.push([init.headers.get('x-shop'), init.headers.get('Prefer')])
      return fetch(address, init)
    },
  })
  const insert = await client.from('portraits').insert({ id: 50 }).select().single()
  assert.deepEqual([insert.status, insert.data.id], [201, 50])
  await client.rpc('nothing').setHeader('x-shop', 'two')
  assert.equal(seen[0][0], 'one')
  assert.match(seen[0][1], /tx=rollback/)
  assert.match(seen[0][1], /return=representation/)
  assert.equal(seen[1][0], 'two')
  const { data } = await db.from('portraits').select().eq('id', 50)
  assert.deepEqual(data, [])
})

test('errors are thrown when wished', async () => {
  await assert.rejects(async () => await db.from('autors').select().throwOnError(), (error) => {
    assert.equal(error.code, 'PGRST205')
    assert.match(error.message, /public\.autors/)
    assert.equal(error.name, 'PostgrestError')
    return true
  })
})

test('maybeSingle that throws does not throw for no row', async () => {
  const { data, error } = await db.from('authors').select().eq('name', 'nobody').throwOnError().maybeSingle()
  assert.deepEqual([data, error], [null, null])
})

test('a server that is not there is an error, not an exception', async () => {
  const nowhere = new PostgrestClient('http://127.0.0.1:1')
  const { data, error } = await nowhere.from('authors').select()
  assert.equal(data, null)
  assert.match(error.message, /fetch failed|ECONNREFUSED/)
})

test('long lists of values fit into a request', async () => {
  const list = Array.from({ length: 300 }, (_, n) => n + 4)
  const { data, error } = await db.from('books').select('id').in('id', list)
  assert.deepEqual([data, error], [[{ id: 4 }], null])
})

test('many requests at once', async () => {
  const all = await Promise.all(Array.from({ length: 50 }, (_, n) => db.from('books').select('id').eq('id', (n % 4) + 1).single()))
  assert.deepEqual(all.map(({ data }) => data.id), all.map((_, n) => (n % 4) + 1))
})

test('statuses have their texts', async () => {
  const { status, statusText } = await db.from('authors').select().limit(1)
  assert.deepEqual([status, statusText], [200, 'OK'])
})

answers('types change nothing', (db) => db.from('authors').select().eq('name', 'zola').single().overrideTypes(), { data: author('zola') })
