import {Map} from '/maplibre/maplibre-gl.mjs'
import {begin, server} from './app.js'

let map

// idle: nothing moves and each tile in view has come or failed.
const idle = () => map.once('idle')

await begin({
	async open({template, tilejson, anonymous, sign, asked}) {
		map?.remove()
		map = new Map({
			container: 'map', center: [10, 50], zoom: 3, // its tiles have 512 pixels a side: Leaflet calls it 4
			style: {
				version: 8,
				sources: {base: {type: 'raster', tileSize: 256, maxzoom: 5, ...tilejson ? {url: tilejson} : {tiles: [template]}}},
				layers: [
					{id: 'nothing', type: 'background', paint: {'background-color': '#f0f'}},
					{id: 'base', type: 'raster', source: 'base', paint: {'raster-fade-duration': 0}},
				],
			},
			fadeDuration: 0,
			maxTileCacheSize: 0, // what leaves the view is gone, and has to be asked for again
			canvasContextAttributes: {preserveDrawingBuffer: true}, // for covered
			async transformRequest(url, type) {
				if (type === 'Tile') {
					if (sign) url = await sign(url)
					asked(url)
				}
				return url.startsWith(server) && !anonymous ? {url, credentials: 'include'} : {url}
			},
		})
		map.on('error', () => {}) // refused tiles are what the tests are about; the default writes them to the console
		await idle()
	},
	async go(lng, lat) {
		map.jumpTo({center: [lng, lat]})
		await idle()
	},
	covered() {
		const {width, height} = map.getCanvas()
		const copy = new OffscreenCanvas(width, height).getContext('2d')
		copy.drawImage(map.getCanvas(), 0, 0)
		const {data} = copy.getImageData(0, 0, width, height)
		let shown = 0
		for (let i = 0; i < data.length; i += 4) shown += data[i + 3] > 0 && (data[i] < 250 || data[i + 1] > 5 || data[i + 2] < 250)
		return shown / (width * height)
	},
	async close() {
		map.removeLayer('base')
		map.removeSource('base')
		await idle()
	},
})
