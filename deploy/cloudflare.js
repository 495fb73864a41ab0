// Cloudflare as a shared cache in front of tilegate: a Worker on the route tiles.example.com/*, written by Cloudflare's
// documentation; its logic runs in any fetch-shaped runtime. Each request for a tile is put to tilegate's /auth/verify
// first; only then may the cache answer. On tilegate's side (behind cloudflared, so that the tunnel's loopback address is
// the one proxy to trust; without a tunnel, the addresses that Cloudflare publishes):
//
//   server: {listen: "127.0.0.1:8080", public_url: "https://tiles.example.com", trusted_proxies: ["127.0.0.1/32"]}
//   auth:   {verify_header: X-Original-URI}
//   cdn:    {origin_secrets: [{env: ORIGIN_SECRET}], edge_authorizes: true, tilesets: [basemap], ttl: 24h}
//
// To change: the tilesets in TILE (those of cdn.tilesets). Variables: ORIGIN, tilegate's own address, which is not this
// route's. As secrets: ORIGIN_SECRET, and CACHE_SECRET, another one (openssl rand -hex 32), without which nothing is cached.
// New data: purge the cache tag "tileset-basemap".
//
// Where ORIGIN is a proxied name of the same zone, anybody can ask it past this Worker, and the cache would answer for the
// address that a tile is kept under. CACHE_SECRET is part of that address. It is the zone's caching level that makes it
// count: "Standard", never "Ignore query string", and no cache rule that leaves the query out of the key.

// TileJSON (/tiles/basemap.json) differs by caller and must not match here.
const TILE = /^\/tiles\/(?:basemap\/)?\d+\/\d+\/\d+(?:@\d+x)?(?:\.[a-z]+)?$/

// What only we may say to tilegate. Headers are dropped, whoever sent them.
const OURS = ['X-Origin-Verify', 'X-Original-URI', 'X-Forwarded-Uri', 'X-Forwarded-Host']

export default {
	async fetch(request, env) {
		const url = new URL(request.url)
		const headers = new Headers(request.headers)
		for (const name of OURS) headers.delete(name)
		const pass = () => fetch(env.ORIGIN + url.pathname + url.search, {
			method: request.method, headers, body: request.body, redirect: 'manual', cache: 'no-store',
		})
		if (!env.CACHE_SECRET || !['GET', 'HEAD'].includes(request.method) || !TILE.test(url.pathname)) return pass()

		const question = new Headers(headers)
		question.set('X-Original-URI', url.pathname + url.search)
		const verdict = await fetch(env.ORIGIN + '/auth/verify', {headers: question, redirect: 'manual', cache: 'no-store'})
		if (verdict.status !== 204) return pass() // a refusal is tilegate's to word, with its CORS headers

		// The verified path and nothing else of the request. Cloudflare keys by URL alone, so what must tell entries apart
		// goes into the query, where tilegate ignores it: the secret, and an Origin, which the answer's CORS headers may echo.
		const shared = new URL(env.ORIGIN + url.pathname)
		shared.searchParams.set('shared', env.CACHE_SECRET)
		const kept = {'X-Origin-Verify': env.ORIGIN_SECRET}
		const origin = request.headers.get('Origin')
		if (origin) {
			kept.Origin = origin
			shared.searchParams.set('origin', origin)
		}
		for (const name of ['If-None-Match', 'If-Modified-Since', 'Range', 'If-Range']) {
			if (headers.has(name)) kept[name] = headers.get(name)
		}
		const tile = await fetch(shared, {
			method: request.method, headers: kept, redirect: 'manual', cf: {cacheEverything: true},
		})

		// Beyond this point a tile is private again, and its lifetime begins now.
		const answer = new Response(tile.body, tile)
		const cacheControl = answer.headers.get('Cache-Control') ?? ''
		if (cacheControl.includes('s-maxage')) {
			answer.headers.set('Cache-Control', 'private' + `, ${cacheControl}`.replace(/, *(?:s-maxage=\d+|public)/g, ''))
		}
		for (const name of ['Age', 'CDN-Cache-Control', 'Surrogate-Control', 'Surrogate-Key', 'Cache-Tag']) answer.headers.delete(name)
		return answer
	},
}
