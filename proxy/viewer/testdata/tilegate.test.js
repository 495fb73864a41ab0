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
// kept is what GET /session answers: whether the browser sent the cookie. p.requests are those besides.
function page(t, answers, {server, skew = 0, token = async () => 'fresh', kept = () => ({}), from} = {}) {
	t.mock.timers.enable({apis: ['setTimeout', 'Date'], now: start})
	const p = {requests: [], checks: 0, changes: [], resumed: [], errors: [], asked: 0}
	const window = new EventTarget()
	const document = {currentScript: {src: from ?? 'https://tiles.example.com/map/tilegate.js'}, hidden: false}
	const context = vm.createContext({
		window, document, location: {origin: 'https://app.example.com'}, URL, AbortController, Date, setTimeout, clearTimeout, Object, Error, Math, console,
		addEventListener: window.addEventListener.bind(window),
		fetch: async (url, options) => {
			if (options.method === 'GET') p.checks++
			else p.requests.push({url: String(url), ...options})
			const answer = options.method === 'GET' ? await kept() : answers.shift()
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
		onresume: (s) => p.resumed.push(s),
		onerror: (e) => p.errors.push({status: e.status, retry: e.retry, message: e.message}),
		...(server && {server}),
	})
	p.settle = async () => { for (let i = 0; i < 40; i++) await null }
	p.ready = 'pending'
	p.session.ready.then(() => { p.ready = 'resolved' }, (e) => { p.ready = e.message })
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

// at is a session that is to be renewed so many seconds after the start.
const at = (seconds) => ({subject: 'ada', expires_at: new Date(start + seconds * 1500).toISOString(), renew_after: new Date(start + seconds * 1000).toISOString()})

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

test('is ready once the browser holds the cookie, and not before', async (t) => {
	let answer
	const gate = new Promise((resolve) => { answer = resolve })
	const p = page(t, [at(600)], {kept: () => gate})
	await p.settle()
	assert.deepEqual([p.requests.length, p.checks, p.ready], [1, 1, 'pending'], 'signed in, and asking for the cookie')
	answer({})
	await p.settle()
	assert.equal(p.ready, 'resolved')
	assert.equal(p.changes.length, 1)
})

test('a cookie that did not stick is told with the server\u2019s advice, and is not asked for in a loop', async (t) => {
	const p = page(t, [at(600)], {kept: () => 401})
	await p.settle()
	assert.equal(p.ready, 'The browser did not keep the session cookie. refused with 401')
	assert.deepEqual(p.errors, [{status: 401, retry: undefined, message: p.ready}])
	assert.deepEqual(p.changes, [])
	await p.pass(3600)
	assert.equal(p.requests.length, 1)
})

test('plain http is told as such', async (t) => {
	const p = page(t, [at(600)], {kept: () => 401, from: 'http://tiles.example.com/tilegate.js'})
	await p.settle()
	assert.match(p.ready, /over https only: serve tilegate over https/)
})

test('a token that is refused rejects; a later one makes a new promise', async (t) => {
	const answers = [401]
	const p = page(t, answers)
	const first = p.session.ready
	await p.settle()
	assert.equal(p.ready, 'refused with 401')
	answers.push(at(600))
	await p.session.renew()
	assert.notEqual(p.session.ready, first)
	assert.equal((await p.session.ready).subject, 'ada')
})

test('no answer leaves it pending: it is tried again', async (t) => {
	const answers = []
	const p = page(t, answers)
	await p.settle()
	assert.equal(p.ready, 'pending')
	answers.push(at(600))
	await p.pass(5)
	assert.equal(p.ready, 'resolved')
})

test('the check is made once, and again after a lapse; only then is the map to be drawn again', async (t) => {
	const answers = [at(600)]
	const p = page(t, answers)
	await p.settle()
	answers.push({subject: 'ada', expires_at: new Date(start + 1_500_000).toISOString(), renew_after: new Date(start + 1_200_000).toISOString()})
	await p.pass(600)
	assert.deepEqual([p.requests.length, p.checks, p.resumed.length], [2, 1, 0], 'renewed in time')
	t.mock.timers.setTime(start + 2_000_000) // the device slept
	answers.push(at(2600))
	await p.wake()
	assert.deepEqual([p.requests.length, p.checks, p.resumed.length], [3, 2, 1], 'renewed after its end')
	answers.push(at(3200))
	await p.pass(600)
	assert.equal(p.requests.length, 4)
	assert.equal(p.resumed.length, 1)
})

test('a handler that is set later is the one that is called', async (t) => {
	const answers = [at(600)]
	const p = page(t, answers)
	await p.settle()
	let redrawn = 0
	p.session.onresume = () => redrawn++
	t.mock.timers.setTime(start + 2_000_000)
	answers.push(at(600))
	await p.wake()
	assert.deepEqual([redrawn, p.resumed.length], [1, 0])
})

test('a page without ready has no unhandled rejection', async (t) => {
	let unhandled = 0
	const count = () => unhandled++
	process.on('unhandledRejection', count)
	page(t, [401])
	t.mock.timers.reset()
	await new Promise((resolve) => setImmediate(resolve))
	process.off('unhandledRejection', count)
	assert.equal(unhandled, 0)
})
