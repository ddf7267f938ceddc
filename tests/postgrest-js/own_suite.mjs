// Runs the client's own test suite, as it is, against the binary:
//
//   git clone https://github.com/supabase/postgrest-js CHECKOUT && (cd CHECKOUT && npm ci --ignore-scripts)
//   node tests/postgrest-js/own_suite.mjs CHECKOUT target/debug/mainstay [postgres://postgres@/empty_database]
//
// One case needs PostGIS in that database. The suite wants PostgREST at http://localhost:3000 and :3001 without a prefix: two gateways of ours stand there in front of one
// API. Its schema is read as `schema.sql` of a project on SQLite, or loaded by psql into the database given, which is then adopted
// as it is. Says how many cases pass, and fails when one fails that `own_suite_exceptions.json` (on SQLite) or
// `own_suite_exceptions_postgres.json` does not name with a reason, when one named there passes, or when fewer than 90 % of the
// portable ones pass: all but those that this engine or setting cannot answer so.

import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join, resolve } from 'node:path'
import { createInterface } from 'node:readline'

const [checkout, binary] = process.argv.slice(2, 4).map((path) => resolve(path))
const database = process.argv[4]
const named = database ? 'own_suite_exceptions_postgres.json' : 'own_suite_exceptions.json'
const exceptions = JSON.parse(readFileSync(new URL(named, import.meta.url)))
const folder = mkdtempSync(join(tmpdir(), 'mainstay-own-suite-'))
const children = []

/** A project served from a folder of its own; resolves to its address. */
async function serve(name, toml, schema) {
  const dir = join(folder, name)
  mkdirSync(dir)
  writeFileSync(join(dir, 'mainstay.toml'), toml)
  if (schema) writeFileSync(join(dir, 'schema.sql'), schema)
  const child = spawn(binary, ['serve', dir, '--admin', '127.0.0.1:0', '--set', 'log.access=false', '--set', 'log.level=warn'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  children.push(child)
  const lines = createInterface({ input: child.stdout })
  const ready = new Promise((done) => lines.on('line', (line) => line.startsWith('ready ') && done(line.slice(6).trim())))
  const died = once(child, 'exit').then(([code]) => Promise.reject(new Error(`${name} ended with ${code}`)))
  died.catch(() => {})
  return Promise.race([ready, died])
}

async function run() {
  const files = ['00-schema.sql', '01-dummy-data.sql'].map((file) => join(checkout, 'test/db', file))
  const settings = '[gateway]\nlisten = "127.0.0.1:0"\n[api]\nschemas = ["public", "personal"]\naggregates = true\n'
  let api
  if (database) {
    for (const file of files) spawnSync('psql', [database, '-q', '-f', file], { stdio: ['ignore', 'ignore', 'inherit'] })
    const own = `anon = "postgres"\nplan = true\n[store.main]\nurl = "${database}"\n[auth]\nsecret = "${'s'.repeat(40)}"\n`
    api = await serve('api', settings + own)
  } else {
    api = await serve('api', settings + 'anon = "service_role"\n', files.map((file) => readFileSync(file, 'utf8')).join('\n'))
  }
  for (const port of [3000, 3001]) {
    await serve(
      `gateway-${port}`,
      `[gateway]\nlisten = "127.0.0.1:${port}"\n[upstream.rest]\nservers = ["${api.replace('http://', '')}"]\n` +
        '[[route]]\nmatch = "/**"\nto = "rest"\nrewrite = "/rest/v1/**"\n',
    )
  }
  const report = join(folder, 'report.json')
  spawnSync('npx', ['jest', '--runInBand', '--ci', '--json', `--outputFile=${report}`], { cwd: checkout, stdio: 'ignore' })
  const times = new Map()
  const cases = JSON.parse(readFileSync(report)).testResults.flatMap((file) =>
    file.assertionResults.map((result) => {
      const name = `${basename(file.name, '.test.ts')} | ${result.fullName}`
      times.set(name, (times.get(name) ?? 0) + 1)
      // Two cases may have one name.
      return { name: times.get(name) > 1 ? `${name} (${times.get(name)})` : name, passed: result.status === 'passed' }
    }),
  )
  const exception = (name) => exceptions.find((group) => group.cases.includes(name))
  const passed = cases.filter((c) => c.passed)
  const portable = cases.filter((c) => c.passed || (exception(c.name)?.portable ?? true))
  const share = (100 * passed.length) / portable.length
  console.log(`${passed.length} of ${cases.length} cases pass; ${portable.length} are portable, ${share.toFixed(1)} % of them pass`)
  for (const { reason, portable, cases: names } of exceptions) {
    console.log(`${names.length} not, ${portable ? 'portable' : 'not portable'}: ${reason}`)
    for (const name of names) console.log(`    ${name}`)
  }
  const unnamed = cases.filter((c) => !c.passed && !exception(c.name)).map((c) => c.name)
  const mended = passed.filter((c) => exception(c.name)).map((c) => c.name)
  for (const name of unnamed) console.error(`fails without a reason: ${name}`)
  for (const name of mended) console.error(`passes, though named as an exception: ${name}`)
  return unnamed.length + mended.length === 0 && share >= 90
}

let ok = false
try {
  ok = await run()
} finally {
  for (const child of children) child.kill()
  rmSync(folder, { recursive: true, force: true })
}
process.exit(ok ? 0 : 1)
