package tile

import "time"

// Signed is a URL that opens one object in the bucket for whoever has it.
type Signed struct {
	URL      string
	Expires  time.Time
	Constant time.Duration // how much longer asking again gives this very URL
}
