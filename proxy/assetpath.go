package proxy

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"unicode/utf8"

	"tilegate/internal/tile"
)

const (
	assetsPath = "/assets/"
	// maxObjectKey is the length of S3's longest key, in bytes.
	// https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
	maxObjectKey = 1024
	// maxFonts is how many fonts of a stack are looked for.
	maxFonts = 8
)

var errBadAsset = refuse(http.StatusBadRequest, "A bundle's path is /assets/{bundle}/{path}, without empty or dot segments, a slash at its end, %2F, %5C, or control bytes, and its key has 1,024 bytes at most.")

// cutAssets returns what follows /assets/ in a path, or /t/{token}/assets/ with the token.
func cutAssets(path string) (token, rest string, ok bool) {
	if rest, ok = strings.CutPrefix(path, assetsPath); ok {
		return "", rest, true
	}
	under, ok := strings.CutPrefix(path, "/t/")
	if !ok {
		return "", "", false
	}
	token, rest, ok = strings.Cut(under, "/")
	rest, isAssets := strings.CutPrefix(rest, assetsPath[1:])
	return token, rest, ok && isAssets && token != ""
}

// parseAssetPath reads {bundle}/{path} behind /assets/, where u is the URL that it stands in. The path has been
// percent-decoded once. What names the bundle must be written without escapes, and no escape may hide a slash.
func parseAssetPath(u *url.URL, token, rest string) (bundle, path string, ok bool) {
	bundle, path, ok = strings.Cut(rest, "/")
	if !ok || !tile.ValidID(bundle) || !validAssetPath(path) || token != "" && !validToken(token) {
		return "", "", false
	}
	if u.RawPath != "" {
		before := strings.TrimSuffix(u.Path, path)
		if !strings.HasPrefix(u.RawPath, before) || strings.Contains(strings.ToUpper(u.RawPath), "%2F") {
			return "", "", false
		}
	}
	return bundle, path, true
}

// validAssetPath reports whether a path within a bundle names at most one object, in one way.
func validAssetPath(path string) bool {
	if len(path) > maxObjectKey || !utf8.ValidString(path) {
		return false
	}
	for i := range len(path) {
		if c := path[i]; c < ' ' || c == 0x7f || c == '\\' {
			return false
		}
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return false
		}
	}
	return true
}

var glyphRange = regexp.MustCompile(`^[0-9]{1,7}-[0-9]{1,7}\.pbf$`)

// fontStack returns the paths of the single fonts where a path is that of glyphs of several: …/{a,b}/{n}-{m}.pbf. It returns
// maxFonts at most. ok is false where one of them is no path.
func fontStack(path string) (fonts []string, ok bool) {
	slash := strings.LastIndexByte(path, '/')
	if slash < 0 || !glyphRange.MatchString(path[slash+1:]) {
		return nil, true
	}
	before := strings.LastIndexByte(path[:slash], '/') + 1
	if !strings.Contains(path[before:slash], ",") {
		return nil, true
	}
	for font := range strings.SplitSeq(path[before:slash], ",") {
		one := path[:before] + font + path[slash:]
		if !validAssetPath(one) {
			return nil, false
		}
		if len(fonts) < maxFonts {
			fonts = append(fonts, one)
		}
	}
	return fonts, true
}
