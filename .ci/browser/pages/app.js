// What a page that shows a private map does besides the map: it signs in with tilegate.js, from the server's origin,
// and takes the map down when it is signed out.

export const server = new URLSearchParams(location.search).get('server')

const answer = async (url, options) => (await fetch(url, options)).json()

// accessToken is a fresh one of this account's, from the page's own login.
const accessToken = async (account, seconds) => (await answer(`/token?account=${account}&seconds=${seconds}`)).access_token

// template is where a tileset's tiles are, by how the page may have them.
const template = {
	tiles: (tileset) => `${server}/tiles/${tileset}/{z}/{x}/{y}.png`,
	session: (tileset) => template.tiles(tileset), // or as the TileJSON says, where the library reads it
	// Without a cookie: the credential is in the path.
	path: async (tileset) => {
		const headers = {Authorization: `Bearer ${await accessToken('ada', 60)}`}
		return (await answer(`${server}/tokens`, {method: 'POST', headers, body: JSON.stringify({tilesets: [tileset]})})).tiles[tileset]
	},
	// A bundle, with the cookie or with a token in the path; one token for all visits, as a page that keeps its own has.
	bundle: (bundle) => `${server}/assets/${bundle}/`,
	async bundleByPath(bundle) {
		if (!sessionStorage.token) {
			const headers = {Authorization: `Bearer ${await accessToken('ada', 600)}`}
			sessionStorage.token = (await answer(`${server}/tokens`, {method: 'POST', headers})).token
		}
		return `${server}/t/${sessionStorage.token}/assets/${bundle}/`
	},
	// An archive as a file.
	ranges: (tileset) => `${server}/tiles/${tileset}.pmtiles`,
	// Without tilegate: each tile's URL is signed when it is asked for, and is another one each time.
	presigned: (tileset) => `${location.origin}/presigned/${tileset}/{z}/{x}/{y}.png`,
}

// begin offers the page as window.app, once tilegate.js is there. library is a map: open(source) and go(lng, lat), which
// resolve once each tile in view has come or failed, covered(), the share of the map that shows tiles, and close().
export async function begin(library) {
	const script = document.createElement('script')
	script.src = `${server}/tilegate.js`
	await new Promise((resolve, reject) => {
		script.onload = resolve
		script.onerror = () => reject(Error(`${script.src} did not load`))
		document.head.append(script)
	})
	const app = window.app = {
		...library,
		asked: [], // each tile URL that the map has asked for
		address: (via, name) => template[via](name),
		changes: [], // what tilegate.js has told, and when
		errors: [],

		signIn: (account = 'ada', seconds = 600) => new Promise((resolve) => {
			app.session = tilegate({
				token: () => app.token?.() ?? accessToken(account, seconds),
				async onchange(session) {
					app.changes.push({...session, at: Date.now()})
					if (!session) await library.close()
					resolve()
				},
				onerror(e) {
					app.errors.push({status: e.status, retry: e.retry, message: e.message})
					resolve()
				},
			})
		}),

		async open(via, tileset, {anonymous = false} = {}) {
			const sign = via === 'presigned' && (async (url) => (await answer(url)).url)
			await library.open({
				template: await template[via](tileset), tilejson: via === 'session' && `${server}/tiles/${tileset}.json`,
				anonymous, sign, asked: (url) => app.asked.push(url),
			})
		},
	}
}
