import {begin} from './app.js'

// 3D Tiles and terrain in CesiumJS, which is given an address and nothing else: no header, no cookie. What takes long
// without a GPU is left out: the sky, haze, light.
const widget = new Cesium.CesiumWidget('map', {
	baseLayer: false, scene3DOnly: true, msaaSamples: 1, skyBox: false, skyAtmosphere: false, targetFrameRate: 10, shouldAnimate: false,
})
widget.scene.fog.enabled = false
widget.scene.globe.showGroundAtmosphere = false
widget.scene.globe.baseColor = Cesium.Color.fromCssColorString('#ccd')
const failures = window.failures = []
widget.scene.renderError.addEventListener((_, e) => failures.push(String(e)))

const happened = (event) => new Promise((resolve) => {
	const stop = event.addEventListener((what) => {
		stop()
		resolve(what)
	})
})

await begin({
	// city shows a tileset and returns the contents that Cesium says it has loaded.
	async city(url) {
		widget.scene.globe.show = false
		const tileset = await Cesium.Cesium3DTileset.fromUrl(`${url}tileset.json`, {maximumScreenSpaceError: 1})
		const loaded = []
		tileset.tileLoad.addEventListener(({content}) => loaded.push(new URL(content.url).pathname.split('/assets/')[1]))
		tileset.tileFailed.addEventListener(({url, message}) => failures.push(`${url}: ${message}`))
		const all = happened(tileset.initialTilesLoaded)
		widget.scene.primitives.add(tileset)
		widget.camera.viewBoundingSphere(tileset.boundingSphere, new Cesium.HeadingPitchRange(0.5, -0.4, 600))
		await all
		return loaded.sort()
	},
	// terrain shows the globe with it and returns what heights Cesium reads at these degrees.
	async terrain(url, places) {
		const provider = await Cesium.CesiumTerrainProvider.fromUrl(url)
		const missing = []
		provider.errorEvent.addEventListener(({level, x, y}) => missing.push(`${level}/${x}/${y}`))
		const read = await Cesium.sampleTerrain(provider, 0, places.map(([lon, lat]) => Cesium.Cartographic.fromDegrees(lon, lat)))
		widget.scene.terrainProvider = provider
		widget.camera.setView({destination: Cesium.Cartesian3.fromDegrees(20, 20, 9e6)})
		await new Promise((resolve) => {
			widget.scene.globe.tileLoadProgressEvent.addEventListener((left) => { if (left === 0) resolve() })
		})
		return {heights: read.map(({height}) => height), missing}
	},
	covered: () => 0,
	async close() { widget.destroy() },
})
