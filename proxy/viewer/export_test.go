package viewer

import "io/fs"

// Files are what the binary holds.
var Files fs.FS = files

// NewOf is New of other files.
func NewOf(o Options, files fs.FS) *Viewer { return newViewer(o, files) }
