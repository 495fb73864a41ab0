// Package bubble is what tests in a testing/synctest bubble need: time that passes, and a network that does not stop it.
package bubble

import "time"

// Advance lets time pass by the clock of the synctest bubble that it is called in. It panics outside of one, where it would take
// real time: a test waits for what it waits for, by a channel or by looking again and again.
func Advance(d time.Duration) {
	if time.Now().Year() > 2010 { // a bubble's clock begins with the year 2000
		panic("bubble.Advance was called outside of a synctest bubble")
	}
	if d > 0 { // Go's race detector crashes in a bubble on two timers that are due when they are made (go.dev/issue/78156)
		<-time.After(d)
	}
}
