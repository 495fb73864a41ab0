package tile

import "net/netip"

// Counter names something that several instances count together: the requests of a caller within a window, or the
// distinct tiles of a tileset that the caller is sent.
type Counter struct {
	Subject    string     // the caller's; "": it is known by its address
	Client     netip.Addr // of a caller without a subject
	Tileset    string     // whose tiles are counted; "": requests are
	Begin, End int64      // of the window, in seconds since 1970
}
