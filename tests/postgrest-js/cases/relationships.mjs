// Embedding by name: every kind of relationship.

import { BOOKS, answers, refuses } from '../harness.mjs'

answers('one to many', (db) => db.from('authors').select('books(*)').limit(1).single(), { data: { books: BOOKS } })
answers('one to many, some columns', (db) => db.from('authors').select('name, books(id, title)').limit(1).single(), {
  data: { name: 'zola', books: BOOKS.map(({ id, title }) => ({ id, title })) },
})
answers('three levels', (db) => db.from('authors').select('name, books(id, shelves(id, label))').eq('name', 'zola').single(), {
  data: {
    name: 'zola',
    books: [
      { id: 1, shelves: { id: 1, label: 'novels' } },
      { id: 2, shelves: { id: 2, label: 'essays' } },
      { id: 3, shelves: { id: 3, label: 'loose' } },
      { id: 4, shelves: { id: 3, label: 'loose' } },
    ],
  },
})
answers('several embeds side by side', (db) => db.from('authors').select('name, books(id), portraits(id)').limit(1).single(), {
  data: { name: 'zola', books: BOOKS.map(({ id }) => ({ id })), portraits: [{ id: 1 }] },
})
answers('many to one', (db) => db.from('books').select('id, author:authors(name)').limit(1).single(), {
  data: { id: 1, author: { name: 'zola' } },
})
answers('one to one, from the key', (db) => db.from('shelves').select('label, shelf_notes(note)').order('id'), {
  data: [
    { label: 'novels', shelf_notes: { note: 'By the window' } },
    { label: 'essays', shelf_notes: { note: 'Below the stairs' } },
    { label: 'loose', shelf_notes: null },
  ],
})
answers('one to one, to the key', (db) => db.from('shelf_notes').select('note, shelves(label)').limit(1).single(), {
  data: { note: 'By the window', shelves: { label: 'novels' } },
})
answers('a cast in an embed', (db) => db.from('books').select('id, shelves(id::text)').limit(1).single(), {
  data: { id: 1, shelves: { id: '1' } },
})
answers('an embed with no fields is not shown', (db) => db.from('books').select('id, authors()').limit(1).single(), { data: { id: 1 } })
answers('a table related to itself, by constraint', (db) => db.from('genres').select('title, genres!genres_parent_id_fkey(title)').eq('id', 2).single(), {
  data: { title: 'prose', genres: [{ title: 'crime' }, { title: 'travel' }] },
})
answers('a table related to itself, by column', (db) => db.from('genres').select('title, parent:parent_id(title)').eq('id', 2).single(), {
  data: { title: 'prose', parent: { title: 'all' } },
})
answers('many to many', (db) => db.from('prizes').select('name, juries(name)').order('id'), {
  data: [
    { name: 'Golden Quill', juries: [{ name: 'readers' }, { name: 'critics' }] },
    { name: 'Blue Page', juries: [{ name: 'readers' }] },
    { name: 'Small Ink', juries: [{ name: 'readers' }, { name: 'pupils' }] },
  ],
})
answers('many to many keeps decimals', (db) => db.from('juries').select('name, prizes(purse)').eq('id', 3).single(), {
  data: { name: 'pupils', prizes: [{ purse: 199.9 }] },
})
answers('by the column that refers', (db) => db.from('portraits').select('id, author(name)').limit(1).single(), {
  data: { id: 1, author: { name: 'zola' } },
})
answers('by the column that refers, under another name', (db) => db.from('portraits').select('id, who:author(name)').limit(1).single(), {
  data: { id: 1, who: { name: 'zola' } },
})
answers('through a view', (db) => db.from('author_names').select('name, books(id)').eq('name', 'zola').single(), {
  data: { name: 'zola', books: BOOKS.map(({ id }) => ({ id })) },
})
answers('to a view', (db) => db.from('books').select('id, author_names(name, one)').limit(1).single(), {
  data: { id: 1, author_names: { name: 'zola', one: 1 } },
})

// Mistakes.
const ways = ['judge', 'newer', 'older'].map((column) => ({
  cardinality: 'many-to-one',
  embedding: 'rivalries with authors',
  relationship: `rivalries_${column}_fkey using rivalries(${column}) and authors(name)`,
}))
refuses('several ways and no hint, to one', (db) => db.from('rivalries').select('authors(*)'), 300, {
  code: 'PGRST201',
  message: "Could not embed because more than one relationship was found for 'rivalries' and 'authors'",
  hint: /'authors!rivalries_older_fkey'/,
  details: ways,
})
refuses('several ways and no hint, to many', (db) => db.from('authors').select('name, rivalries(*)'), 300, {
  code: 'PGRST201',
  message: "Could not embed because more than one relationship was found for 'authors' and 'rivalries'",
})
refuses('several ways and no hint, further down', (db) => db.from('authors').select('a:rivalries!rivalries_older_fkey(b:authors(name))'), 300, {
  code: 'PGRST201',
})
refuses('no way', (db) => db.from('books').select('id, prizes(name)'), 400, {
  code: 'PGRST200',
  message: "Could not find a relationship between 'books' and 'prizes' in the schema cache",
  details: "Searched for a foreign key relationship between 'books' and 'prizes' in the schema 'public', but no matches were found.",
})
refuses('no way, spread and inner', (db) => db.from('authors').select('b:books(id, ...cover(made, shelves!inner(id)))'), 400, { code: 'PGRST200' })
refuses('an unknown column of an embed', (db) => db.from('authors').select('books(pages)'), 400, {
  code: '42703',
  message: /column books(_1)?\.pages does not exist/,
})
