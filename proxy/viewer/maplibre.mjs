// What the map page uses of MapLibre GL JS.
export {AttributionControl, Map, NavigationControl, Popup, ScaleControl, addProtocol, setWorkerUrl} from 'maplibre-gl/src/index.ts'
