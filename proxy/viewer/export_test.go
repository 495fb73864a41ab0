package viewer

import (
	"io/fs"
	"net/http"
)

// Files are what the binary holds.
var Files fs.FS = files

// NewOf is New of other files.
func NewOf(o Options, files fs.FS) http.Handler { return newViewer(o, files) }
