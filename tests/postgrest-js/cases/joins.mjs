// !inner, !left, hints, and spreads.

import { BOOKS, answers, author } from '../harness.mjs'

const ids = BOOKS.map(({ id }) => ({ id }))

answers('!inner leaves out rows without', (db) => db.from('authors').select('name, books!inner(id)').order('name'), {
  data: [{ name: 'zola', books: ids }],
})
answers('!inner on a nullable reference', (db) => db.from('visits').select('id, rooms!inner(name)').order('id'), {
  data: [
    { id: 1, rooms: { name: 'north' } },
    { id: 2, rooms: { name: 'north' } },
    { id: 3, rooms: { name: 'south' } },
    { id: 5, rooms: { name: 'attic' } },
    { id: 6, rooms: { name: 'north' } },
    { id: 8, rooms: { name: null } },
  ],
})
answers('!inner with a filter on the related rows', (db) => db.from('rooms').select('id, visits!inner(id)').eq('visits.id', 3), {
  data: [{ id: 2, visits: [{ id: 3 }] }],
})
answers('!inner, nothing of it shown', (db) => db.from('rooms').select('id, visits!inner()').eq('visits.id', 3), { data: [{ id: 2 }] })
answers('!inner counts what is left', (db) => db.from('rooms').select('id, visits!inner()', { count: 'exact', head: true }), {
  data: null,
  count: 4,
})
answers('!inner across many to many', (db) => db.from('prizes').select('name, juries!inner(name)').eq('juries.name', 'pupils'), {
  data: [{ name: 'Small Ink', juries: [{ name: 'pupils' }] }],
})
answers('!left, one to one', (db) => db.from('shelf_notes').select('shelves!left(*)').limit(1).single(), {
  data: { shelves: { id: 1, facts: null, label: 'novels' } },
})
answers('!left, one to many', (db) => db.from('authors').select('books!left(author)').limit(1).single(), {
  data: { books: Array(4).fill({ author: 'zola' }) },
})
answers('!left, one to many, none', (db) => db.from('authors').select('name, books!left(*)').eq('name', 'kafka').single(), {
  data: { name: 'kafka', books: [] },
})
answers('!left, to zero or one, one', (db) => db.from('portraits').select('*, authors!left(name)').eq('id', 1).single(), {
  data: { id: 1, author: 'zola', authors: { name: 'zola' } },
})
answers('!left, to zero or one, none', (db) => db.from('portraits').select('*, authors!left(*)').eq('id', 2).single(), {
  data: { id: 2, author: null, authors: null },
})
answers('an embed is null', (db) => db.from('visits').select('id, rooms()').is('rooms', null), { data: [{ id: 4 }, { id: 7 }] })
answers('an embed is not null', (db) => db.from('authors').select('name, portraits()').not('portraits', 'is', null), { data: [{ name: 'zola' }] })

answers('hints by constraint, to one', (db) =>
  db
    .from('rivalries')
    .select('a:authors!rivalries_older_fkey(*), b:authors!rivalries_newer_fkey(name), c:authors!rivalries_judge_fkey(name)')
    .eq('id', 1)
    .single(), { data: { a: author('zola'), b: { name: 'kafka' }, c: { name: 'austen' } } })
answers('hints by constraint, to many', (db) =>
  db
    .from('authors')
    .select('x:rivalries!rivalries_older_fkey(id), y:rivalries!rivalries_newer_fkey(id), z:rivalries!rivalries_judge_fkey(id)')
    .eq('name', 'zola')
    .single(), { data: { x: [{ id: 1 }, { id: 2 }], y: [], z: [] } })
answers('hints by column, to one', (db) =>
  db.from('rivalries').select('a:authors!older(name), b:authors!newer(name), c:authors!judge(name)').order('id'), {
  data: [
    { a: { name: 'zola' }, b: { name: 'kafka' }, c: { name: 'austen' } },
    { a: { name: 'zola' }, b: { name: 'austen' }, c: null },
  ],
})
answers('hints by column, to many', (db) => db.from('authors').select('x:rivalries!newer(id), z:rivalries!judge(id)').eq('name', 'austen').single(), {
  data: { x: [{ id: 2 }], z: [{ id: 1 }] },
})
answers('hints by column, further down', (db) =>
  db.from('authors').select('x:rivalries!older(id, a:authors!older(name), b:authors!newer(name))').eq('name', 'zola').single(), {
  data: {
    x: [
      { id: 1, a: { name: 'zola' }, b: { name: 'kafka' } },
      { id: 2, a: { name: 'zola' }, b: { name: 'austen' } },
    ],
  },
})
answers('by the column alone', (db) => db.from('rivalries').select('older(name), judge(name)').eq('id', 2).single(), {
  data: { older: { name: 'zola' }, judge: null },
})
answers('a hint and !inner', (db) => db.from('rivalries').select('id, j:authors!judge!inner(name)'), {
  data: [{ id: 1, j: { name: 'austen' } }],
})

answers('spread, to one', (db) => db.from('books').select('id, ...shelves(label)').eq('id', 2).single(), { data: { id: 2, label: 'essays' } })
answers('spread, to one, renamed', (db) => db.from('books').select('id, ...shelves(shelf:label, number:id)').eq('id', 2).single(), {
  data: { id: 2, shelf: 'essays', number: 2 },
})
answers('spread, to one, all columns', (db) => db.from('shelf_notes').select('note, ...shelves(*)').eq('id', 2).single(), {
  data: { note: 'Below the stairs', id: 2, facts: null, label: 'essays' },
})
answers('spread, to one, none', (db) => db.from('visits').select('id, ...rooms(name)').eq('id', 4).single(), { data: { id: 4, name: null } })
answers('spread inside an embed', (db) => db.from('books').select('id, shelves(id, ...shelf_notes(n:id, note))').order('id').limit(3), {
  data: [
    { id: 1, shelves: { id: 1, n: 1, note: 'By the window' } },
    { id: 2, shelves: { id: 2, n: 2, note: 'Below the stairs' } },
    { id: 3, shelves: { id: 3, n: null, note: null } },
  ],
})
answers('spread inside a spread', (db) => db.from('books').select('id, ...shelves(label, ...shelf_notes(note))').eq('id', 1).single(), {
  data: { id: 1, label: 'novels', note: 'By the window' },
})
answers('spread, to many: an array for each column, aligned', (db) => db.from('shelves').select('shelf:id, ...books(id, title, author)').eq('id', 3).single(), {
  data: { shelf: 3, id: [3, 4], title: ['Without a cover', 'Without a cover'], author: ['zola', 'zola'] },
})
answers('spread, to many, ordered', (db) =>
  db.from('shelves').select('shelf:id, ...books(id)').order('id', { referencedTable: 'books', ascending: false }).eq('id', 3).single(), {
  data: { shelf: 3, id: [4, 3] },
})
