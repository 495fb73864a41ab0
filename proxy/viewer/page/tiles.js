// What became of each tile. The map asks for its tiles by load, which tells status and headers; how long one took, and
// whether the browser had it, is told by Resource Timing.

import {$, element, headers, trouble} from './api.js'

const outcomes = {
	hit: 'from tilegate’s memory', browser: 'from the browser’s own cache', stale: 'from memory, refreshed behind',
	joined: 'shared another’s fetch', miss: 'fetched from S3', served: 'served', denied: 'denied', absent: 'no such tile', failed: 'failed',
}
const bad = new Set(['denied', 'failed'])
const kept = 150 // rows of either sort

let counts = {}
let times = []
let bytes = 0
let explained = 0 // the status that the panel tells of
const waiting = new Map() // URL to the row that its timing will fill
const timings = new Map() // URL to its last timing

// refused are the tiles that were denied or failed since the map was drawn, as "z/x/y".
export const refused = new Set()
let onrefused = () => {}
export const whenRefused = (f) => { onrefused = f }

// load fetches a tile for the map. A tile in twice the resolution that is not there is asked for in the usual one.
export async function load(url, signal) {
	const row = {url, since: performance.now(), status: 0}
	let answer, body
	try {
		answer = await fetch(url, {headers: headers(), credentials: 'same-origin', signal})
		body = await answer.arrayBuffer()
	} catch (e) {
		if (signal?.aborted) throw e
	}
	row.status = answer?.status ?? 0
	row.cache = answer?.headers.get('Cache-Status') ?? ''
	row.size = body?.byteLength
	settle(row)
	if (answer?.ok && body?.byteLength) return body
	if (row.status === 404 && url.includes('@2x')) return load(url.replace('@2x', ''), signal)
	if (row.status && row.status !== 404 && row.status !== 204) explain(url, row.status, body)
	else if (!row.status) explain(url, 0)
	throw Object.assign(Error(`HTTP status ${row.status}`), {status: row.status === 204 ? 404 : row.status})
}

const name = (url) => url.match(/(\d+)\/(\d+)\/(\d+)[^/]*$/)?.slice(1, 4).join('/') ?? '?'

function settle(row) {
	row.line = element('tr')
	row.ok = row.status === 200
	if (row.ok || row.status === 404 || row.status === 204) refused.delete(name(row.url))
	else refused.add(name(row.url))
	onrefused()
	$('tiles').prepend(row.line)
	$('scroller').hidden = $('filter').hidden = false
	const timing = timings.get(row.url)
	if (timing && timing.startTime >= row.since - 5) return fill(row, timing)
	waiting.set(row.url, row)
	setTimeout(() => waiting.get(row.url) === row && fill(row), 1000)
}

new PerformanceObserver((list) => {
	for (const timing of list.getEntries()) {
		if (timing.initiatorType !== 'fetch') continue
		timings.set(timing.name, timing)
		if (timings.size > 1000) timings.delete(timings.keys().next().value)
		if (waiting.has(timing.name)) fill(waiting.get(timing.name), timing)
	}
}).observe({type: 'resource', buffered: true})

function outcomeOf({ok, status, cache}, timing) {
	if (status === 401 || status === 403) return 'denied'
	if (status === 404 || status === 204) return 'absent'
	if (!ok) return 'failed'
	if (timing?.transferSize === 0) return 'browser'
	const told = timing?.serverTiming.find((t) => t.name === 'cache')?.description
	if (outcomes[told]) return told
	if (cache.includes('collapsed')) return 'joined'
	if (cache.includes('fwd=')) return 'miss'
	if (cache.includes('hit')) return cache.includes('ttl=-') ? 'stale' : 'hit'
	return 'served'
}

function fill(row, timing) {
	waiting.delete(row.url)
	const outcome = outcomeOf(row, timing)
	const parts = new Map(outcome === 'browser' ? [] : timing?.serverTiming.map((t) => [t.name, t.duration]))
	counts[outcome] = (counts[outcome] ?? 0) + 1
	if (timing) times.push(timing.duration)
	bytes += timing?.transferSize ?? 0
	if (row.ok && outcome !== 'browser') $('untimed').hidden = parts.has('origin')
	const number = (n, digits = 0) => (n === undefined ? '' : n.toFixed(digits))
	row.line.title = [outcomes[outcome], ...[...parts].map(([part, ms]) => `${part} ${ms} ms`)].join(' · ')
	row.line.className = bad.has(outcome) ? 'bad' : 'good'
	const alike = $('tiles').getElementsByClassName(row.line.className)
	if (alike.length > kept) alike[alike.length - 1].remove()
	row.line.replaceChildren(...[
		name(row.url) + (row.url.includes('@2x') ? ' @2x' : ''),
		element('span', {}, element('span', {className: `dot ${outcome}`}), outcome),
		row.status || '',
		outcome === 'miss' || outcome === 'joined' ? number(parts.get('origin'), 1) : '',
		number(timing?.duration),
		number(row.size ? (timing?.encodedBodySize || row.size) / 1000 : undefined, 1),
	].map((content) => element('td', {}, content)))
	summarize()
}

// explain tells the reason of a failure; once for each status.
function explain(url, status, body) {
	if (explained === (status || -1)) return
	explained = status || -1
	let detail
	try {
		detail = JSON.parse(new TextDecoder().decode(body)).detail
	} catch {
		// not a problem document of ours
	}
	trouble(status, detail)
}

let scheduled = false
function summarize() {
	if (scheduled) return
	scheduled = true
	requestAnimationFrame(() => {
		scheduled = false
		const seen = Object.keys(outcomes).filter((o) => counts[o])
		const total = seen.reduce((sum, o) => sum + counts[o], 0)
		$('bar').replaceChildren(...seen.map((o) => {
			const part = element('i', {className: o})
			part.style.flexGrow = counts[o]
			return part
		}))
		$('bar').ariaLabel = total ? seen.map((o) => `${counts[o]} ${o}`).join(', ') : 'No tiles yet'
		$('legend').replaceChildren(...seen.map((o) =>
			element('li', {title: outcomes[o]}, element('span', {className: `dot ${o}`}), element('b', {textContent: counts[o]}), ` ${o}`)))
		const median = times.toSorted((a, b) => a - b)[times.length >> 1]
		$('summary').textContent = total
			? `${total} tile${total === 1 ? '' : 's'}` + (median === undefined ? '' : `, half of them within ${median.toFixed(0)} ms`) + `, ${(bytes / 1000).toFixed(0)} kB over the network`
			: 'No tiles yet.'
	})
}

// forget begins anew: what fails next is told again.
export function forget() {
	explained = 0
	refused.clear()
	onrefused()
}

export function clearTiles() {
	counts = {}
	times = []
	bytes = 0
	explained = 0
	waiting.clear()
	$('tiles').replaceChildren()
	$('scroller').hidden = $('filter').hidden = $('untimed').hidden = true
	summarize()
}

$('clear').addEventListener('click', clearTiles)
$('refused-only').addEventListener('change', () => $('tiles').classList.toggle('refused-only', $('refused-only').checked))
