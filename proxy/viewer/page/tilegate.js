// tilegate({token: async () => accessToken, onchange, onresume, onerror, server}) keeps a page signed in. token is asked
// for one at each renewal; without, the session of /login is renewed. onchange gets {subject, tilesets,
// expires_at, renew_after}, or null: signed out. onresume: the session had ended, draw the map again. onerror
// gets e.status (0: no answer) and e.retry, seconds to the next try. server: this script's. Returns {ready, renew(),
// signOut(), stop(), onresume}. ready resolves once the cookie is held.
var tilegate = window.tilegate = ({token, onchange, onresume, onerror = console.error, server = tilegate.home}) => {
	const end = new AbortController()
	let timer, due, pause, busy, until, settle
	const ask = async (method, headers) => {
		const r = await fetch(new URL('session', server), {method, headers, credentials: 'include', cache: 'no-store'})
		if (r.ok) return r
		const {detail} = await r.json().catch(() => r)
		throw Object.assign(Error(detail || r.status), {status: r.status})
	}
	const holds = () => ask('GET').catch((e) => {
		if (e.status === 401) e.message = 'The browser did not keep the session cookie. ' +
			(new URL(server).protocol === 'http:' ? 'It keeps one over https only: serve tilegate over https.' : e.message)
		throw e
	})
	const promise = () => {
		session.ready = new Promise((...both) => settle = both)
		session.ready.catch(() => {})
	}
	const attempt = async () => {
		clearTimeout(timer)
		due = 0 // refused? until the tab wakes
		if (!settle) promise()
		let next, tell
		try {
			const r = await (token ? ask('POST', {Authorization: 'Bearer ' + await token()}) :
				until ? ask('POST') : ask('GET').catch(() => ask('POST')))
			const s = await r.json()
			const now = Date.parse(r.headers.get('Date')) || Date.now()
			if (!(until > now)) await holds()
			const lapsed = until <= now
			until = Date.parse(s.expires_at)
			next = Math.max(5, (Date.parse(s.renew_after) - now) / 1e3)
			pause = 0
			tell = () => {
				settle[0](s)
				onchange?.(s)
				if (lapsed) session.onresume?.(s)
			}
		} catch (e) {
			e.status ??= 0
			if (e.status < 400 || e.status > 428) next = e.retry = pause = Math.min(60, 2 * pause || 5)
			tell = () => {
				if (!next) settle = settle[1](e)
				onerror(e)
			}
		}
		if (end.signal.aborted) return
		if (next) {
			due = Date.now() + next * 1e3
			timer = setTimeout(renew, Math.min(next, 1e6) * 1e3)
		}
		tell()
	}
	const renew = () => busy ||= attempt().finally(() => busy = 0)
	for (const e of ['visibilitychange', 'pageshow', 'online'])
		addEventListener(e, () => document.hidden || Date.now() < due || renew(), end)
	const stop = () => (end.abort(), clearTimeout(timer))
	const session = {renew, stop, onresume, async signOut() {
		stop()
		await busy
		await ask('DELETE')
		onchange?.(null)
	}}
	promise()
	renew()
	return session
}
// A module has no currentScript, but a stack. /tilegate.mjs is this script with exports.
tilegate.home = document.currentScript?.src || Error().stack?.match(/\w+:\/\/[^\s()@]+\/tilegate\.js/)?.[0] || location.origin
