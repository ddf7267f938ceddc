// Counts and sums, alone, in groups and in embeds.

import { answers, refuses } from '../harness.mjs'

answers('count of all', (db) => db.from('books').select('count()'), { data: [{ count: 4 }] })
answers('count as a column', (db) => db.from('books').select('count'), { data: [{ count: 4 }] })
answers('count in an embed, as a column', (db) => db.from('authors').select('name, books(count)').limit(1).single(), {
  data: { name: 'zola', books: [{ count: 4 }] },
})
answers('count of a column, in an embed', (db) => db.from('authors').select('name, books(id.count())').limit(1).single(), {
  data: { name: 'zola', books: [{ count: 4 }] },
})
answers('count in an embed, renamed', (db) => db.from('authors').select('name, books(how_many:id.count())').limit(2), {
  data: [
    { name: 'zola', books: [{ how_many: 4 }] },
    { name: 'kafka', books: [{ how_many: 0 }] },
  ],
})
answers('count further down', (db) => db.from('authors').select('books(id, shelves(count))').eq('name', 'zola').limit(1).single(), {
  data: { books: [1, 2, 3, 4].map((id) => ({ id, shelves: { count: 1 } })) },
})
answers('sum in an embed', (db) => db.from('authors').select('name, books(id.sum())').limit(1).single(), {
  data: { name: 'zola', books: [{ sum: 10 }] },
})
answers('sum in an embed, renamed', (db) => db.from('authors').select('name, books(total:id.sum())').limit(1).single(), {
  data: { name: 'zola', books: [{ total: 10 }] },
})
answers('sum further down', (db) => db.from('shelf_notes').select('note, shelves(id.sum())').order('id'), {
  data: [
    { note: 'By the window', shelves: { sum: 1 } },
    { note: 'Below the stairs', shelves: { sum: 2 } },
  ],
})
answers('an aggregate beside a spread', (db) => db.from('books').select('id, shelves(id.sum(), ...shelf_notes(note))').order('id').limit(3), {
  data: [
    { id: 1, shelves: { sum: 1, note: 'By the window' } },
    { id: 2, shelves: { sum: 2, note: 'Below the stairs' } },
    { id: 3, shelves: { sum: 3, note: null } },
  ],
})
answers('an aggregate inside a spread joins the outer groups', (db) =>
  db.from('books').select('id, shelves(id.sum(), ...shelf_notes(note, notes:id.sum()))').order('id').limit(3), {
  data: [
    { id: 1, shelves: { sum: 1, note: 'By the window', notes: 1 } },
    { id: 2, shelves: { sum: 2, note: 'Below the stairs', notes: 2 } },
    { id: 3, shelves: { sum: 3, note: null, notes: null } },
  ],
})
answers('groups by a spread', (db) => db.from('books').select('title.count(), ...shelves(label)').order('shelves(label)'), {
  data: [
    { count: 1, label: 'essays' },
    { count: 2, label: 'loose' },
    { count: 1, label: 'novels' },
  ],
})
answers('counts through two spreads', (db) => db.from('books').select('author, ...shelves(shelves:count(), ...shelf_notes(notes:count()))'), {
  data: [{ author: 'zola', shelves: 4, notes: 2 }],
})
answers('an aggregate inside a spread, of a column that may be read', (db) => db.from('shelves').select('id, ...vaults(code, n:id.sum())').order('id').limit(1), {
  data: [{ id: 1, code: 'x', n: 1 }],
})
refuses('an aggregate inside a spread, of a column that may not be read', (db) => db.from('shelves').select('id, ...vaults(amount.sum())'), 401, {
  code: '42501',
  message: 'permission denied for table vaults',
})
refuses('an aggregate two spreads deep, of a column that may not be read', (db) => db.from('books').select('id, ...shelves(...vaults(amount.max()))'), 401, {
  code: '42501',
})
refuses('an aggregate inside a spread to many', (db) => db.from('shelves').select('id, ...books(id.sum())'), 400, {
  code: 'PGRST127',
  details: 'Aggregates are not implemented for one-to-many or many-to-many spreads.',
})
answers('groups', (db) => db.from('books').select('shelf_id, id.count(), id.max()').order('shelf_id'), {
  data: [
    { shelf_id: 1, count: 1, max: 1 },
    { shelf_id: 2, count: 1, max: 2 },
    { shelf_id: 3, count: 2, max: 4 },
  ],
})
answers('decimals stay exact', (db) => db.from('prizes').select('purse.sum(), least:purse.min(), purse.max()').single(), {
  data: { sum: 1899.88, least: 199.9, max: 999.99 },
})
answers('an average', (db) => db.from('books').select('id.avg()').single(), { data: { avg: 2.5 } })
answers('a cast of the result', (db) => db.from('books').select('id.sum()::text').single(), { data: { sum: '10' } })
refuses('an aggregate of an unknown column', (db) => db.from('authors').select('n:pages.count()').limit(1).single(), 400, {
  code: '42703',
  message: 'column authors.pages does not exist',
})
refuses('an aggregate of a table', (db) => db.from('books').select('title, authors.count()'), 400, {
  code: '42703',
  message: 'column books.authors does not exist',
})
refuses('an aggregate\'s name alone, unless it is count', (db) => db.from('authors').select('name, books(sum)'), 400, {
  code: '42703',
  message: /column books(_1)?\.sum does not exist/,
})
