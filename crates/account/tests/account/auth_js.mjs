// Drives @supabase/auth-js, unmodified, against the server whose address is the first argument.
import assert from 'node:assert/strict'
import { AuthClient } from '@supabase/auth-js'

const url = process.argv[2]
const client = () => new AuthClient({ url, autoRefreshToken: false, persistSession: false, headers: { apikey: 'anon' } })
const ok = ({ data, error }) => { assert.equal(error, null); return data }
const refused = ({ error }, name, status, code) =>
  assert.deepEqual([error?.name, error?.status, error?.code], [name, status, code])

const email = 'ann@example.com'
const first = client()
const events = []
first.onAuthStateChange((event) => events.push(event))

// signUp
const registered = ok(await first.signUp({ email, password: 'correct horse', options: { data: { name: 'Ann' } } }))
assert.equal(registered.user.email, email)
assert.equal(registered.user.user_metadata.name, 'Ann')
assert.equal(registered.user.identities.length, 1)
assert.equal(registered.session.token_type, 'bearer')
assert.ok(registered.session.expires_at > Date.now() / 1000)
refused(await client().signUp({ email, password: 'correct horse' }), 'AuthApiError', 422, 'user_already_exists')
const weak = await client().signUp({ email: 'bob@example.com', password: 'short' })
refused(weak, 'AuthWeakPasswordError', 422, 'weak_password')
assert.deepEqual(weak.error.reasons, ['length'])
refused(await client().signUp({ email: 'bob', password: 'long enough' }), 'AuthApiError', 400, 'validation_failed')
refused(await client().signInAnonymously(), 'AuthApiError', 422, 'anonymous_provider_disabled')

// signInWithPassword
const second = client()
refused(await second.signInWithPassword({ email, password: 'wrong horse' }), 'AuthApiError', 400, 'invalid_credentials')
const login = ok(await second.signInWithPassword({ email, password: 'correct horse' }))
assert.equal(login.user.id, registered.user.id)

// getUser, getClaims
assert.equal(ok(await first.getUser()).user.id, registered.user.id)
refused(await first.getUser('not.a.token'), 'AuthApiError', 403, 'bad_jwt')
const { claims } = ok(await first.getClaims())
assert.deepEqual([claims.role, claims.aud, claims.email, claims.aal], ['authenticated', 'authenticated', email, 'aal1'])

// refreshSession
const before = (await first.getSession()).data.session
const refreshed = ok(await first.refreshSession())
assert.notEqual(refreshed.session.refresh_token, before.refresh_token)
const again = ok(await client().refreshSession({ refresh_token: before.refresh_token }))
assert.equal(again.session.refresh_token, refreshed.session.refresh_token)
refused(await client().refreshSession({ refresh_token: 'unknown' }), 'AuthApiError', 400, 'refresh_token_not_found')

// setSession
const third = client()
const { access_token, refresh_token } = refreshed.session
assert.equal(ok(await third.setSession({ access_token, refresh_token })).user.id, registered.user.id)

// updateUser
const updated = ok(await first.updateUser({ data: { theme: 'dark' } }))
assert.deepEqual(updated.user.user_metadata, { name: 'Ann', theme: 'dark' })
refused(await first.updateUser({ email: 'bob@example.com' }), 'AuthApiError', 422, 'feature_disabled')
refused(await first.updateUser({ password: 'correct horse' }), 'AuthApiError', 422, 'same_password')
ok(await first.updateUser({ password: 'battery staple' }))
const gone = await second.getUser()
assert.equal(gone.error?.name, 'AuthSessionMissingError', 'the other session is over')
refused(await client().signInWithPassword({ email, password: 'correct horse' }), 'AuthApiError', 400, 'invalid_credentials')
const fourth = client()
ok(await fourth.signInWithPassword({ email, password: 'battery staple' }))

// signOut
ok({ data: null, ...(await first.signOut({ scope: 'others' })) })
assert.equal((await fourth.getUser()).error?.name, 'AuthSessionMissingError')
ok(await first.getUser())
ok({ data: null, ...(await first.signOut()) })
assert.equal((await first.getSession()).data.session, null)
refused(await client().refreshSession({ refresh_token }), 'AuthApiError', 400, 'refresh_token_not_found')

// What is not there yet says so.
refused(await client().resetPasswordForEmail(email), 'AuthApiError', 422, 'feature_disabled')
refused(await client().signInWithOtp({ email }), 'AuthApiError', 422, 'feature_disabled')
refused(await client().verifyOtp({ email, token: '1', type: 'email' }), 'AuthApiError', 422, 'feature_disabled')

assert.deepEqual(events.filter((e) => e !== 'INITIAL_SESSION'),
  ['SIGNED_IN', 'TOKEN_REFRESHED', 'USER_UPDATED', 'USER_UPDATED', 'SIGNED_OUT'])
console.log('auth-js: all as expected')
