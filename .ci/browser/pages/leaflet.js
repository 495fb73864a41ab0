import * as L from '/leaflet/leaflet-src.esm.js'
import {begin} from './app.js'

const map = L.map('map', {fadeAnimation: false, zoomAnimation: false}).setView([50, 10], 4)
let layer

const settled = () => new Promise((resolve) => layer.isLoading() ? layer.once('load', resolve) : resolve())

// A layer whose tiles have URLs that are signed one by one.
const Signed = L.TileLayer.extend({
	createTile(coords, done) {
		const tile = document.createElement('img')
		tile.onload = () => done(null, tile)
		tile.onerror = () => done(Error('refused'), tile)
		this.options.sign(this.getTileUrl(coords)).then((url) => { tile.src = url; this.fire('tileloadstart', {tile}) })
		return tile
	},
})

await begin({
	async open({template, anonymous, sign, asked}) {
		// Without a buffer around the view: what leaves it is gone, and has to be asked for again.
		const options = {keepBuffer: 0, maxZoom: 5, crossOrigin: anonymous && 'anonymous', sign}
		layer = sign ? new Signed(template, options) : L.tileLayer(template, options)
		layer.on('tileloadstart', ({tile}) => tile.src && asked(tile.src))
		layer.addTo(map)
		await settled()
	},
	async go(lng, lat) {
		map.panTo([lat, lng], {animate: false})
		await settled()
	},
	covered() {
		const images = [...document.querySelectorAll('#map img')].filter((i) => i.complete && i.naturalWidth > 1).map((i) => i.getBoundingClientRect())
		let points = 0, shown = 0
		for (let x = 5; x < innerWidth; x += 10)
			for (let y = 5; y < innerHeight; y += 10) {
				points++
				if (images.some((r) => r.left <= x && x < r.right && r.top <= y && y < r.bottom)) shown++
			}
		return shown / points
	},
	async close() {
		layer?.remove()
	},
})
