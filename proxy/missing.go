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
	h := x.Header()
	h["X-Content-Type-Options"] = nosniff
	h["Cache-Control"] = ts.missingCacheControl
	if x.outcome == outcomeNone {
		h[statusHeader] = outsideStatus
	}
	if edge {
		ts.setSharedHeaders(h)
		h["Cache-Control"] = ts.missingSharedCacheControl
		h["Cdn-Cache-Control"] = ts.missingCDNCacheControl
		h["Surrogate-Control"] = ts.missingCDNCacheControl
	}
	var body []byte
	switch status := missingAnswers[ts.Missing]; {
	case status == http.StatusNoContent:
		x.WriteHeader(status)
		return nil
	case status == http.StatusNotFound:
		x.identify()
		body = problemBody(failureOf(tile.ErrMissing), x.requestID)
		h["Content-Type"] = problemType
	case ts.format.Vector:
		// An empty vector tile is one without layers.
		h["Content-Type"] = ts.contentType
	default:
		body = transparentTile
		h["Content-Type"] = []string{"image/png"}
	}
	h["Content-Length"] = []string{formatLength(int64(len(body)))}
	x.WriteHeader(missingAnswers[ts.Missing])
	if r.Method == http.MethodHead {
		return nil
	}
	_, err := x.Write(body)
	return err
}
