// Every filter of the client.

import { AUTHORS, answers, names, onPostgres, refuses } from '../harness.mjs'

const named = (filter) => (db) => filter(db.from('authors').select('name'))

answers('not', (db) => db.from('authors').select('state').not('state', 'eq', 'RESTING'), {
  data: Array(4).fill({ state: 'WRITING' }),
})
answers('not in', named((q) => q.not('name', 'in', '(zola,joyce)')), names('kafka', 'austen', 'dickens'))
answers('or', (db) => db.from('authors').select('state, name').or('state.eq.RESTING,name.eq.zola'), {
  data: [
    { state: 'WRITING', name: 'zola' },
    { state: 'RESTING', name: 'kafka' },
  ],
})
answers('or with and inside', named((q) => q.or('and(state.eq.WRITING,name.like.d*),name.eq.kafka').order('name')), names('dickens', 'kafka'))
answers('two or', named((q) => q.or('name.eq.zola,name.eq.kafka').or('state.eq.RESTING')), names('kafka'))
answers('eq', named((q) => q.eq('name', 'zola')), names('zola'))
answers('neq', named((q) => q.neq('name', 'zola')), names('kafka', 'austen', 'dickens', 'joyce'))
answers('gt', (db) => db.from('books').select('id').gt('id', 3), { data: [{ id: 4 }] })
answers('gte', (db) => db.from('books').select('id').gte('id', 3), { data: [{ id: 3 }, { id: 4 }] })
answers('lt', (db) => db.from('books').select('id').lt('id', 2), { data: [{ id: 1 }] })
answers('lte', (db) => db.from('books').select('id').lte('id', 2), { data: [{ id: 1 }, { id: 2 }] })
answers('gt of decimals', (db) => db.from('prizes').select('name').gt('purse', 199.9).order('purse'), {
  data: [{ name: 'Blue Page' }, { name: 'Golden Quill' }],
})
answers('like', named((q) => q.like('name', '%o%a%')), names('zola'))
answers('like heeds case', named((q) => q.like('name', 'ZO%')), { data: [] })
answers('likeAllOf', named((q) => q.likeAllOf('name', ['%o%', '%la'])), names('zola'))
answers('likeAnyOf', named((q) => q.likeAnyOf('name', ['%oy%', '%zo%'])), names('zola', 'joyce'))
answers('ilike', named((q) => q.ilike('name', 'ZO%')), names('zola'))
answers('ilikeAllOf', named((q) => q.ilikeAllOf('name', ['%O%', '%LA'])), names('zola'))
answers('ilikeAnyOf', named((q) => q.ilikeAnyOf('name', ['%OY%', 'ZO%'])), names('zola', 'joyce'))
answers('is null', (db) => db.from('portraits').select().is('author', null), { data: [{ id: 2, author: null }] })
answers('is not null', (db) => db.from('portraits').select('id').not('author', 'is', null), { data: [{ id: 1 }] })
answers('in', (db) => db.from('authors').select('state').in('state', ['WRITING', 'RESTING']), {
  data: AUTHORS.map(({ state }) => ({ state })),
})
answers('in with what must be quoted', named((q) => q.in('name', ['a,b', 'say "x"', 'zola'])), names('zola'))
answers('in nothing', named((q) => q.in('name', [])), { data: [] })
answers('contains, json', (db) => db.from('authors').select('name').contains('facts', { born: { year: '1882' } }), names('joyce'))
answers('contains, array', (db) => db.from('oddities').select('labels').contains('labels', ['one']), {
  data: [{ labels: ['test', 'one'] }],
})
answers('containedBy, json', named((q) => q.containedBy('facts', { born: { in: { city: 'Dublin' }, year: '1882' }, more: 1 })), names('joyce'))
answers('containedBy, array', (db) => db.from('oddities').select('labels').containedBy('labels', ['one', 'test', 'two']), {
  data: [{ labels: ['test', 'one'] }],
})
answers('overlaps, array', (db) => db.from('oddities').select('labels').overlaps('labels', ['one', 'another']), {
  data: [{ labels: ['test', 'one'] }, { labels: ['another'] }],
})
answers('eq on a range', named((q) => q.eq('years', '[1,2)')), names('zola'))
answers('several filters', named((q) => q.eq('name', 'zola').is('facts', null).eq('state', 'WRITING').like('name', 'z%')), names('zola'))
answers('filter by the operator\'s name', named((q) => q.filter('name', 'eq', 'zola')), names('zola'))
answers('match', (db) => db.from('authors').select('name, state').match({ name: 'zola', state: 'WRITING' }), {
  data: [{ name: 'zola', state: 'WRITING' }],
})
answers('a filter on what a function returns', (db) => db.rpc('name_and_state', { who: 'zola' }).neq('state', 'RESTING'), {
  data: [{ name: 'zola', state: 'WRITING' }],
})
answers('inside JSON, as text', named((q) => q.eq('facts->born->>year', '1882')), names('joyce'))
answers('inside JSON, deeper', named((q) => q.eq('facts->born->in->>city', 'Dublin')), names('joyce'))
answers('a column with a blank in its name', (db) => db.from('oddities').select('id').is('two words', null).eq('id', 2), { data: [{ id: 2 }] })

// Only Postgres has these: elsewhere each is refused by its name.
for (const [name, filter, operator, list] of [
  ['contains, range', (q) => q.contains('years', '[1,2)'), '@>', ['zola']],
  ['containedBy, range', (q) => q.containedBy('years', '[1,2)'), '<@', ['zola']],
  ['rangeLt', (q) => q.rangeLt('years', '[2,25)'), '<<', ['zola']],
  ['rangeGt', (q) => q.rangeGt('years', '[2,25)'), '>>', ['kafka', 'austen']],
  ['rangeGte', (q) => q.rangeGte('years', '[2,25)'), '&>', ['kafka', 'austen', 'dickens', 'joyce']],
  ['rangeLte', (q) => q.rangeLte('years', '[2,25)'), '&<', ['zola']],
  ['rangeAdjacent', (q) => q.rangeAdjacent('years', '[2,25)'), '-|-', ['zola', 'kafka', 'austen']],
  ['overlaps, range', (q) => q.overlaps('years', '[2,25)'), '&&', ['dickens', 'joyce']],
]) {
  if (onPostgres) answers(name, named(filter), names(...list))
  else refuses(name, named(filter), 400, { code: '0A000', message: `operator ${operator} on int4range is not supported by SQLite` })
}
for (const type of [undefined, 'plain', 'phrase', 'websearch']) {
  const [name, ask] = [`textSearch, ${type ?? 'as written'}`, named((q) => q.textSearch('motto', 'ink', { type, config: 'english' }))]
  if (onPostgres) answers(name, ask, names('zola', 'dickens'))
  else refuses(name, ask, 400, { code: '0A000', message: 'full text search (@@) is not supported by SQLite' })
}

// Mistakes.
refuses('an unknown column', named((q) => q.eq('nmae', 'zola')), 400, { code: '42703', message: 'column authors.nmae does not exist' })
refuses('an unknown operator', named((q) => q.filter('name', 'equals', 'zola')), 400, { code: 'PGRST100' })
refuses('a value of the wrong type', (db) => db.from('books').select().eq('id', 'one'), 400, {
  code: '22P02',
  message: 'invalid input syntax for type bigint: "one"',
})
refuses('a label that the enum lacks', named((q) => q.eq('state', 'ASLEEP')), 400, {
  code: '22P02',
  message: 'invalid input value for enum author_state: "ASLEEP"',
})
