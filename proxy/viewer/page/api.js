// How the page's scripts find elements, and talk to the server.

export const $ = (id) => document.getElementById(id)
export const element = (name, properties = {}, ...children) => {
	const e = Object.assign(document.createElement(name), properties)
	e.append(...children)
	return e
}

// here is the address of one of our routes: this file is in viewer/, beside them.
export const here = (route) => new URL('../' + route, import.meta.url).href

let key = '' // an API key, which no session comes of: it goes with each request
export const useKey = (text) => { key = text }
export const headers = () => (key ? {'X-API-Key': key} : {})

let origin = '' // of the server's own absolute URLs
export const knowOrigin = (url) => { origin = new URL(url, location).origin }

// local puts our own absolute URLs at the page's origin: the page may have been opened by another name of the server.
export const local = (url) => (origin && url.startsWith(origin + '/') ? location.origin + url.slice(origin.length) : url)

// ask fetches from us; a refusal carries its status and what the server said of it (RFC 9457).
export async function ask(url, options = {}) {
	let answer
	try {
		answer = await fetch(url, {credentials: 'same-origin', cache: 'no-store', ...options, headers: {...headers(), ...options.headers}})
	} catch {
		throw Object.assign(Error(''), {status: 0})
	}
	if (answer.ok) return answer
	const {detail} = await answer.json().catch(() => ({}))
	throw Object.assign(Error(detail ?? ''), {status: answer.status})
}

export const get = async (url, options) => (await ask(url, options)).json()

// ---- Trouble: the one place that says what is wrong, and what to do.

const advice = {
	0: ['No answer.', 'The server cannot be reached. Is it running?'],
	401: ['No valid credential.', 'The session has ended, or the browser did not keep its cookie. Sign in again.'],
	403: ['Not for you.', 'What this account may see does not cover this.'],
	404: ['No such tile.', 'Nothing is stored there.'],
	429: ['Too many requests.', 'Wait a moment, then ask again.'],
	502: ['The bucket refused, or gave a wrong answer.', 'The server’s log says why; “tilegate check --online” tries the bucket.'],
	503: ['Not ready.', 'The server is overloaded, or has no valid credentials for the bucket. It will answer again when it can.'],
	504: ['The bucket did not answer in time.', 'Ask again; the server’s log says more.'],
}

export function reason(status, detail) {
	const [title, hint] = advice[status] ?? [`HTTP status ${status}.`, 'The server’s log says more.']
	return [title, detail || hint]
}

export const trouble = (status, detail) => warn(...reason(status, detail))

export function warn(title, text) {
	$('trouble').firstElementChild.textContent = title
	$('trouble').lastElementChild.textContent = text
	$('trouble').hidden = false
}

export const calm = () => { $('trouble').hidden = true }
