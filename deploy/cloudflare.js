// Cloudflare as a shared cache in front of tilegate: a Worker on the route tiles.example.com/*, written from Cloudflare's
// documentation. A test runs its logic in Node.js. For each request for a tile, the Worker first asks tilegate's
// /auth/verify. Only if that allows the request does it use the cache. Configure tilegate as below. It runs behind
// cloudflared, so the only proxy to trust is the tunnel's loopback address; without a tunnel, trust the addresses that
// Cloudflare publishes.
//
//   server: {listen: "127.0.0.1:8080", public_url: "https://tiles.example.com", trusted_proxies: ["127.0.0.1/32"]}
//   auth:   {verify_header: X-Original-URI}
//   cdn:    {origin_secrets: [{env: ORIGIN_SECRET}], edge_authorizes: true, tilesets: [basemap], ttl: 24h}
//
// Change the tilesets in TILE: those of cdn.tilesets. Set these in the Worker:
//   - the variable ORIGIN: tilegate's own address, which must not match the Worker's route;
//   - the secret ORIGIN_SECRET;
//   - the secret CACHE_SECRET, a different one (openssl rand -hex 32). Without it, nothing is cached.
// When the data changes, purge the cache tag "tileset-basemap", or set cdn.purge.cloudflare: POST /admin/purge then does it.
//
// Why CACHE_SECRET: if ORIGIN is a proxied name of the same zone, anyone can send requests to it without this Worker, and
// Cloudflare's cache would answer them. So the URL under which a tile is cached contains CACHE_SECRET, in its query. The
// query must be part of the zone's cache key: set the caching level to "Standard", never to "Ignore query string", and have
// no cache rule that removes the query from the key.

// TileJSON (/tiles/basemap.json) depends on the caller and must not match here.
const TILE = /^\/tiles\/(?:basemap\/)?\d+\/\d+\/\d+(?:@\d+x)?(?:\.[a-z]+)?$/

// tilegate trusts these headers from the Worker, so what a client sent in them is removed.
const TRUSTED_HEADERS = ['X-Origin-Verify', 'X-Original-URI', 'X-Forwarded-Uri', 'X-Original-URL', 'X-Envoy-Original-Path', 'X-Forwarded-Host']

export default {
	async fetch(request, env) {
		const url = new URL(request.url)
		const headers = new Headers(request.headers)
		for (const name of TRUSTED_HEADERS) headers.delete(name)
		const pass = () => fetch(env.ORIGIN + url.pathname + url.search, {
			method: request.method, headers, body: request.body, redirect: 'manual', cache: 'no-store',
		})
		if (!env.CACHE_SECRET || !['GET', 'HEAD'].includes(request.method) || !TILE.test(url.pathname)) return pass()

		const verifyHeaders = new Headers(headers)
		verifyHeaders.set('X-Original-URI', url.pathname + url.search)
		const verified = await fetch(env.ORIGIN + '/auth/verify', {headers: verifyHeaders, redirect: 'manual', cache: 'no-store'})
		if (verified.status !== 204) return pass() // tilegate writes the error response, with its CORS headers

		// Forward the verified path and nothing else of the request. Cloudflare's cache key is the URL alone, so everything
		// that distinguishes entries goes into the query, which tilegate ignores: the secret, and the Origin, because the
		// CORS headers of the response may depend on it.
		const shared = new URL(env.ORIGIN + url.pathname)
		shared.searchParams.set('shared', env.CACHE_SECRET)
		const sharedHeaders = {'X-Origin-Verify': env.ORIGIN_SECRET}
		const origin = request.headers.get('Origin')
		if (origin) {
			sharedHeaders.Origin = origin
			shared.searchParams.set('origin', origin)
		}
		for (const name of ['If-None-Match', 'If-Modified-Since', 'Range', 'If-Range']) {
			if (headers.has(name)) sharedHeaders[name] = headers.get(name)
		}
		const tile = await fetch(shared, {
			method: request.method, headers: sharedHeaders, redirect: 'manual', cf: {cacheEverything: true},
		})

		// The viewer must not get the directives for shared caches. The viewer's copy is private, and its lifetime begins now.
		const answer = new Response(tile.body, tile)
		const cacheControl = answer.headers.get('Cache-Control') ?? ''
		if (cacheControl.includes('s-maxage')) {
			answer.headers.set('Cache-Control', 'private' + `, ${cacheControl}`.replace(/, *(?:s-maxage=\d+|public)/g, ''))
		}
		for (const name of ['Age', 'CDN-Cache-Control', 'Surrogate-Control', 'Surrogate-Key', 'Cache-Tag']) answer.headers.delete(name)
		return answer
	},
}
