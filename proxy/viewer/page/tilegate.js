// tilegate({token: async () => accessToken, onchange, onerror, server}) keeps a page signed in. token is asked for a
// fresh one, now and for each renewal. onchange gets {subject, tilesets, expires_at, renew_after}, or null: signed out.
// onerror gets e.status (0: no answer) and e.retry, the seconds to the next try. server: where this script is from.
// Returns {renew(), signOut(), stop()}; stop keeps the cookie.
{
	const home = document.currentScript?.src || location.origin
	window.tilegate = ({token, onchange, onerror = console.error, server = home}) => {
		const end = new AbortController()
		let timer, due, pause, busy
		const ask = async (method, headers) => {
			const r = await fetch(new URL('session', server), {method, headers, credentials: 'include'})
			if (r.ok) return r
			const {detail} = await r.json().catch(() => r)
			throw Object.assign(Error(detail || r.status), {status: r.status})
		}
		const attempt = async () => {
			clearTimeout(timer)
			due = 0 // refused? until the tab wakes
			let next, tell
			try {
				const r = await ask('POST', {Authorization: 'Bearer ' + await token()})
				const s = await r.json()
				const now = Date.parse(r.headers.get('Date')) || Date.now()
				next = Math.max(5, (Date.parse(s.renew_after) - now) / 1e3)
				pause = 0
				tell = () => onchange?.(s)
			} catch (e) {
				e.status ??= 0
				if (e.status < 400 || e.status > 428) next = e.retry = pause = Math.min(60, 2 * pause || 5)
				tell = () => onerror(e)
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
		renew()
		return {renew, stop, async signOut() {
			stop()
			await busy
			await ask('DELETE')
			onchange?.(null)
		}}
	}
}
