// What every case uses: the client as npm delivers it, and two ways to say what it must answer.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { PostgrestClient } from '@supabase/postgrest-js'

/** Where the API is. */
export const url = process.env.MAINSTAY_URL

/** Whether the store is PostgreSQL, of which some cases say what it answers differently. */
export const onPostgres = process.env.MAINSTAY_TEST_STORE === 'postgres'

/** A client without a token. */
export const db = new PostgrestClient(url)

/** A case whose answer is `want`: status (200 unless given), data, and count if there is one. No error. */
export function answers(name, ask, want) {
  test(name, async () => {
    const { status, data, count, error } = await ask(db)
    assert.equal(error, null)
    const got = count === null ? { status, data } : { status, data, count }
    assert.deepEqual(got, { status: 200, ...want })
  })
}

/** A case that is refused with this status; `want` holds the members of the error that matter, texts or patterns. */
export function refuses(name, ask, status, want) {
  test(name, async () => {
    const answer = await ask(db)
    assert.equal(answer.data, null)
    assert.notEqual(answer.error, null)
    assert.equal(answer.status, status, JSON.stringify(answer.error))
    for (const [key, value] of Object.entries(want)) {
      if (value instanceof RegExp) assert.match(answer.error[key], value)
      else assert.deepEqual(answer.error[key], value)
    }
  })
}

/** The whole rows of authors, as they are loaded. */
export const AUTHORS = [
  { name: 'zola', facts: null, years: '[1,2)', state: 'WRITING', motto: "'ink' 'pen'" },
  { name: 'kafka', facts: null, years: '[25,35)', state: 'RESTING', motto: "'dog' 'pen'" },
  { name: 'austen', facts: null, years: '[25,35)', state: 'WRITING', motto: "'dog' 'tea'" },
  { name: 'dickens', facts: null, years: '[20,30)', state: 'WRITING', motto: "'ink' 'tea'" },
  {
    name: 'joyce',
    facts: { born: { in: { city: 'Dublin' }, year: '1882' } },
    years: '[20,30)',
    state: 'WRITING',
    motto: "'river' 'run'",
  },
]

/** The whole rows of books, as they are loaded. */
export const BOOKS = [
  { id: 1, facts: null, title: 'Germinal ⚒', author: 'zola', shelf_id: 1 },
  { id: 2, facts: null, title: 'I accuse', author: 'zola', shelf_id: 2 },
  { id: 3, facts: null, title: 'Without a cover', author: 'zola', shelf_id: 3 },
  { id: 4, facts: null, title: 'Without a cover', author: 'zola', shelf_id: 3 },
]

/** One author. */
export const author = (name) => AUTHORS.find((row) => row.name === name)

/** Some authors' names. */
export const names = (...list) => ({ data: list.map((name) => ({ name })) })
