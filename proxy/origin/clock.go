package origin

import (
	"net/http"
	"time"
)

// noticeableSkew is the least difference between S3's or STS's clock and this machine's that counts. Below
// it the difference is taken for zero, since both tell whole seconds and answers take their time.
const noticeableSkew = 30 * time.Second

// clockSkew is how far S3's clock is ahead of this machine's; 0 where that is less than noticeableSkew.
func (st *store) clockSkew() time.Duration {
	skew := time.Duration(st.skew.Load())
	if skew.Abs() < noticeableSkew {
		return 0
	}
	return skew
}

// noteClock learns S3's clock from the Date of a refusal for skew, to a request that was sent at the given time. Any
// other answer says nothing about the clock: an accepted signature proves that the clock is right enough. S3
// wrote the Date, in whole seconds, at some time since then. A known skew that explains the Date is kept:
// otherwise each slow answer would change it a little, and presigned URLs with it.
func (st *store) noteClock(h http.Header, sent time.Time) {
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil || h.Get("Age") != "" { // with Age, a cache in between answered
		return
	}
	least, most := time.Until(date), date.Add(time.Second).Sub(sent)
	if known := time.Duration(st.skew.Load()); known < least || known > most {
		st.skew.Store(int64(least))
	}
}
