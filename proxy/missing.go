package proxy

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"net/http"

	"tilegate/internal/tile"
)

// missingAnswers are the statuses that a tileset may choose for a tile whose absence is proven.
var missingAnswers = map[string]int{"404": http.StatusNotFound, "204": http.StatusNoContent, "transparent": http.StatusOK}

// transparentTile is a 256 px PNG that shows nothing, for clients that draw a broken image on a 404.
var transparentTile = func() []byte {
	var b bytes.Buffer
	img := image.NewPaletted(image.Rect(0, 0, 256, 256), color.Palette{color.Transparent})
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&b, img); err != nil {
		panic(err) // a constant image always encodes
	}
	return b.Bytes()
}()

// writeMissing answers for a tile whose absence is proven. Unlike an error it may be cached, for as
// long as the proxy itself remembers the absence.
func (p *Proxy) writeMissing(x *exchange, r *http.Request, ts *tileset, edge bool) error {
	x.Set("X-Content-Type-Options", nosniff)
	x.Set("Cache-Control", ts.missingCacheControl)
	if x.outcome == outcomeNone {
		x.Set(statusHeader, outsideStatus)
	}
	if edge {
		ts.setSharedHeaders(x)
		x.Set("Cache-Control", ts.missingSharedCacheControl)
		x.Set("Cdn-Cache-Control", ts.missingCDNCacheControl)
		x.Set("Surrogate-Control", ts.missingCDNCacheControl)
	}
	var body []byte
	switch status := missingAnswers[ts.Missing]; {
	case status == http.StatusNoContent:
		x.WriteHeader(status)
		return nil
	case status == http.StatusNotFound:
		x.identify()
		if edge || !wantsImage(r) { // a shared cache has one copy for all
			body = problemBody(failureOf(tile.ErrMissing, x.what), x.requestID)
			x.Set("Content-Type", problemType)
		}
	case ts.format.Vector:
		// An empty vector tile is one without layers.
		x.Set("Content-Type", ts.contentType)
	default:
		body = transparentTile
		x.Set("Content-Type", []string{"image/png"})
	}
	x.Set("Content-Length", []string{formatLength(int64(len(body)))})
	x.WriteHeader(missingAnswers[ts.Missing])
	if r.Method == http.MethodHead {
		return nil
	}
	_, err := x.Write(body)
	return err
}
