// Filters, orders and pages of embedded rows.

import { AUTHORS, BOOKS, answers } from '../harness.mjs'

const of = (books) => AUTHORS.map(({ name }) => ({ books: name === 'zola' ? books : [] }))
const [one, two, three, four] = BOOKS

answers('embedded rows', (db) => db.from('authors').select('books(*)'), { data: of(BOOKS) })
answers('embedded, with a computed column', (db) => db.from('authors').select('books(*, blurb)').limit(1).single(), {
  data: { books: BOOKS.map((book) => ({ ...book, blurb: book.title.slice(0, 3) })) },
})
answers('embedded filter', (db) => db.from('authors').select('books(*)').eq('books.shelf_id', 1), { data: of([one]) })
answers('embedded filters', (db) => db.from('authors').select('books(*)').gt('books.id', 1).lt('books.id', 4), { data: of([two, three]) })
answers('embedded or', (db) => db.from('authors').select('books(*)').or('shelf_id.eq.2,title.eq."Germinal ⚒"', { referencedTable: 'books' }), {
  data: of([one, two]),
})
answers('embedded or with and', (db) =>
  db.from('authors').select('books(*)').or('shelf_id.eq.2,and(title.eq."Germinal ⚒",author.eq.zola)', { referencedTable: 'books' }), {
  data: of([one, two]),
})
answers('embedded filter on an alias', (db) => db.from('authors').select('b:books(*)').eq('b.id', 2).limit(1).single(), { data: { b: [two] } })
answers('embedded order', (db) => db.from('authors').select('books(*)').order('shelf_id', { referencedTable: 'books', ascending: false }).order('id', { referencedTable: 'books' }), {
  data: of([three, four, two, one]),
})
answers('embedded order by several columns', (db) =>
  db
    .from('authors')
    .select('books(*)')
    .order('shelf_id', { referencedTable: 'books', ascending: false })
    .order('id', { referencedTable: 'books', ascending: false }), { data: of([four, three, two, one]) })
answers('embedded limit', (db) => db.from('authors').select('books(*)').limit(1, { referencedTable: 'books' }), { data: of([one]) })
answers('embedded range', (db) => db.from('authors').select('books(*)').range(1, 2, { referencedTable: 'books' }), { data: of([two, three]) })
answers('order of the outer rows by an embedded column', (db) =>
  db.from('visits').select('id, rooms(name)').not('room_id', 'is', null).order('rooms(name)').order('id', { ascending: false }).limit(3), {
  data: [
    { id: 5, rooms: { name: 'attic' } },
    { id: 6, rooms: { name: 'north' } },
    { id: 2, rooms: { name: 'north' } },
  ],
})
answers('a filter two levels down', (db) => db.from('shelves').select('id, books(id, authors(name))').eq('books.authors.name', 'nobody').eq('id', 1), {
  data: [{ id: 1, books: [{ id: 1, authors: null }] }],
})
