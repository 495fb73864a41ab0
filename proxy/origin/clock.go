package origin

import (
	"context"
	"errors"
	"net/http"
	"time"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
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

// statedSkew is the key, in an answer's metadata, of the difference between its Date and this machine's clock.
type statedSkew struct{}

// learnFromRefusals makes the SDK learn STS's clock as noteClock learns S3's. By itself the SDK signs as the Date of its
// latest answer says, whatever that answer was.
func (st *store) learnFromRefusals(stack *middleware.Stack) error {
	return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("LearnClockFromRefusals",
		func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
			out, answer, err := next.HandleFinalize(ctx, in)
			skew, stated := awsmiddleware.GetAttemptSkew(answer)
			switch {
			case !stated:
			case refusedForSkew(err):
				st.stsSkew.Store(int64(skew))
			default:
				answer = middleware.Metadata{} // a value of it cannot be removed; of the others none is used
				answer.Set(statedSkew{}, skew)
			}
			return out, answer, err
		}), "Retry", middleware.After)
}

// refusedForSkew reports whether STS's error says that the time in the signature is wrong.
func refusedForSkew(err error) bool {
	var refusal smithy.APIError
	return errors.As(err, &refusal) && (meanings[refusal.ErrorCode()] == meanings["RequestTimeTooSkewed"] || aboutTime.MatchString(refusal.ErrorMessage()))
}

// skewOfSTS is how far the clock of STS is ahead, by which credentials expire that were asked for d: what a refusal has
// told, or the answer's Date where the expiry agrees with it. Calls with a web identity token are not signed, so that no
// clock is refused. A Date alone proves nothing, as a proxy or a broken clock may have written it.
func (st *store) skewOfSTS(expires time.Time, answer middleware.Metadata, d time.Duration) time.Duration {
	skew, ok := answer.Get(statedSkew{}).(time.Duration)
	if ok && (time.Until(expires)-d-skew).Abs() < noticeableSkew {
		return skew
	}
	return time.Duration(st.stsSkew.Load())
}
