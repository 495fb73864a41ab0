// Runs tilegate.js in a page made of a fetch, a clock and an event target: node --test tilegate.test.js

const assert = require('node:assert')
const {readFileSync} = require('node:fs')
const {join} = require('node:path')
const test = require('node:test')
const vm = require('node:vm')

const script = readFileSync(join(__dirname, '../page/tilegate.js'), 'utf8')
const start = Date.UTC(2026, 10, 22)
const later = (seconds) => new Date(Date.now() + seconds * 1000).toISOString()

// page loads the script. answers are what the server will say, in turn: a status, or an object that a sign-in answers.
function page(t, answers, {server, skew = 0, token = async () => 'fresh'} = {}) {
	t.mock.timers.enable({apis: ['setTimeout', 'Date'], now: start})
	const p = {requests: [], changes: [], errors: [], asked: 0}
	const window = new EventTarget()
	const document = {currentScript: {src: 'https://tiles.example.com/map/tilegate.js'}, hidden: false}
	const context = vm.createContext({
		window, document, location: {origin: 'https://app.example.com'}, URL, AbortController, Date, setTimeout, clearTimeout, Object, Error, Math, console,
		addEventListener: window.addEventListener.bind(window),
		fetch: async (url, options) => {
			p.requests.push({url: String(url), ...options})
			const answer = answers.shift()
			if (answer === undefined) throw new TypeError('Failed to fetch')
			const ok = typeof answer === 'object'
			return {
				ok, status: ok ? 200 : answer,
				headers: new Headers(skew ? {Date: new Date(Date.now() - skew * 1000).toUTCString()} : {}),
				json: async () => (ok ? answer : {detail: `refused with ${answer}`}),
			}
		},
	})
	vm.runInContext(script, context)
	p.session = window.tilegate({
		token: () => (p.asked++, token()),
		onchange: (s) => p.changes.push(s),
		onerror: (e) => p.errors.push({status: e.status, retry: e.retry, message: e.message}),
		...(server && {server}),
	})
	p.settle = async () => { for (let i = 0; i < 20; i++) await null }
	p.pass = async (seconds) => {
		t.mock.timers.tick(seconds * 1000)
		await p.settle()
	}
	p.wake = async (hidden = false) => {
		document.hidden = hidden
		window.dispatchEvent(new Event('visibilitychange'))
		await p.settle()
	}
	return p
}

const session = (seconds) => ({subject: 'ada', tilesets: ['*'], expires_at: later(seconds * 1.5), renew_after: later(seconds)})

test('signs in with a fresh token, where the script is from', async (t) => {
	const first = {subject: 'ada', renew_after: new Date(start + 600_000).toISOString()}
	const p = page(t, [first])
	await p.settle()
	const [{url, method, headers, credentials}] = p.requests
	assert.deepEqual([url, method, credentials], ['https://tiles.example.com/map/session', 'POST', 'include'])
	assert.equal(headers.Authorization, 'Bearer fresh')
	assert.deepEqual(p.changes, [first])
})

test('another server, if told', async (t) => {
	const p = page(t, [{renew_after: new Date(start + 600_000).toISOString()}], {server: 'https://other.example.com'})
	await p.settle()
	assert.equal(p.requests[0].url, 'https://other.example.com/session')
})

test('renews at renew_after, and no sooner', async (t) => {
	const answers = [{renew_after: new Date(start + 600_000).toISOString()}]
	const p = page(t, answers)
	await p.settle()
	await p.pass(599)
	assert.equal(p.requests.length, 1)
	answers.push(session(600))
	await p.pass(1)
	assert.equal(p.requests.length, 2)
	assert.equal(p.asked, 2, 'the app is asked for a fresh token each time')
	answers.push(session(600))
	await p.pass(600)
	assert.equal(p.requests.length, 3)
})

test('counts by the server’s clock: the device’s may be an hour ahead', async (t) => {
	const p = page(t, [{renew_after: new Date(start - 3_000_000).toISOString()}], {skew: 3600})
	await p.settle()
	await p.pass(599)
	assert.equal(p.requests.length, 1)
	await p.pass(1)
	assert.equal(p.requests.length, 2)
})

test('a renewal that is due at once does not become a storm', async (t) => {
	const p = page(t, Array(100).fill({renew_after: new Date(start - 600_000).toISOString()}))
	await p.settle()
	for (let i = 0; i < 20; i++) await p.pass(1)
	assert.ok(p.requests.length <= 5, `${p.requests.length} requests in 20 s`)
})

test('a session that outlives a timer’s range is not renewed at once', async (t) => {
	const p = page(t, [{renew_after: new Date(start + 90 * 86_400_000).toISOString()}])
	await p.settle()
	await p.pass(3600)
	assert.equal(p.requests.length, 1)
})

test('a tab that wakes late renews at once, one that wakes early does not', async (t) => {
	const answers = [{renew_after: new Date(start + 600_000).toISOString()}]
	const p = page(t, answers)
	await p.settle()
	await p.wake()
	assert.equal(p.requests.length, 1)
	t.mock.timers.setTime(start + 700_000) // the clock went on while timers slept
	await p.wake(true)
	assert.equal(p.requests.length, 1, 'still hidden')
	answers.push(session(600))
	await p.wake()
	assert.equal(p.requests.length, 2)
})

test('without an answer: reports, and tries again ever more slowly', async (t) => {
	const p = page(t, [])
	await p.settle()
	assert.deepEqual(p.errors, [{status: 0, retry: 5, message: 'Failed to fetch'}])
	for (const pause of [5, 10, 20, 40, 60, 60]) {
		const before = p.requests.length
		await p.pass(pause - 1)
		assert.equal(p.requests.length, before, `too early for a pause of ${pause} s`)
		await p.pass(1)
		assert.equal(p.requests.length, before + 1, `no try after ${pause} s`)
	}
})

for (const status of [429, 500, 503])
	test(`${status}: tries again`, async (t) => {
		const p = page(t, [status, {subject: 'ada', renew_after: new Date(start + 600_000).toISOString()}])
		await p.settle()
		assert.deepEqual(p.errors, [{status, retry: 5, message: `refused with ${status}`}])
		await p.pass(5)
		assert.equal(p.changes.length, 1)
	})

for (const status of [400, 401, 403])
	test(`${status}: reports, and waits for the tab to wake`, async (t) => {
		const p = page(t, [status, {renew_after: new Date(start + 600_000).toISOString()}])
		await p.settle()
		assert.deepEqual(p.errors, [{status, retry: undefined, message: `refused with ${status}`}])
		await p.pass(3600)
		assert.equal(p.requests.length, 1)
		await p.wake()
		assert.equal(p.requests.length, 2)
	})

test('an app that has no token is reported and asked again', async (t) => {
	const p = page(t, [], {token: async () => { throw Error('signed out of the identity provider') }})
	await p.settle()
	assert.equal(p.requests.length, 0)
	assert.deepEqual(p.errors, [{status: 0, retry: 5, message: 'signed out of the identity provider'}])
	await p.pass(5)
	assert.equal(p.asked, 2)
})

test('many calls of renew are one request', async (t) => {
	const p = page(t, [{renew_after: new Date(start + 600_000).toISOString()}])
	await Promise.all([p.session.renew(), p.session.renew(), p.wake()])
	assert.equal(p.requests.length, 1)
})

test('signing out waits for a renewal under way, ends the session, and stays out', async (t) => {
	const p = page(t, [{subject: 'ada', renew_after: new Date(start + 600_000).toISOString()}, {}])
	await p.session.signOut()
	assert.deepEqual(p.requests.map((r) => r.method), ['POST', 'DELETE'])
	assert.deepEqual(p.changes, [null])
	await p.pass(3600)
	await p.wake()
	assert.equal(p.requests.length, 2)
})

test('stop ends renewals and keeps the session', async (t) => {
	const p = page(t, [{renew_after: new Date(start + 600_000).toISOString()}])
	await p.settle()
	p.session.stop()
	await p.pass(3600)
	await p.wake()
	assert.deepEqual(p.requests.map((r) => r.method), ['POST'])
})
