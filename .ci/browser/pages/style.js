import {Map} from '/maplibre/maplibre-gl.mjs'
import {begin, server} from './app.js'

// A whole map in MapLibre: the style names its tiles, glyphs and sprite, all of them in the private bucket.
let map

await begin({
	async open({template, anonymous}) {
		map?.remove()
		map = new Map({
			container: 'map', style: `${template}style.json`, center: [7, 53], zoom: 4, fadeDuration: 0,
			transformRequest: (url) => url.startsWith(server) && !anonymous ? {url, credentials: 'include'} : {url},
		})
		window.failures = []
		map.on('error', ({error}) => failures.push(error.message))
		await Promise.race([map.once('idle'), map.once('error')])
	},
	async go(lng, lat) {
		map.jumpTo({center: [lng, lat]})
		await map.once('idle')
	},
	// written are the names that stand on the map: drawn with glyphs, and for small countries with a dot from the sprite.
	written: (...layers) => [...new Set(map.queryRenderedFeatures({layers}).map((f) => f.properties.name))],
	painted: () => map.listImages(),
	covered: () => 0,
	async close() { map.remove() },
})
