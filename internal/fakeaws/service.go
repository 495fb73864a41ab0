package fakeaws

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strings"
)

// Service is how a service that speaks S3's protocol differs from S3. The zero value is S3.
type Service struct {
	// Requests.
	RefuseChecksumMode int               // the status, 400 or 501, with which x-amz-checksum-mode is refused
	Public             bool              // anybody may read and list
	RequesterPays      bool              // requests without x-amz-request-payer are denied
	Regions            map[string]string // of buckets that are not in Options.Region
	Redirect           int               // the status for a request in the wrong region: 301 (the default), 307, or 400

	// Conditions and ranges.
	IgnoreConditions bool // If-Match, If-None-Match and their like
	FailNotModified  bool // 412 where 304 belongs
	IgnoreRange      bool // the whole object instead

	// Headers of objects.
	ETag           func(etag string) string // what becomes of S3's; "" for none
	NoLastModified bool
	Unsized        bool // no Content-Length: the body is sent in chunks
	UntilClose     bool // no Content-Length: the end of the connection is the end of the body, as in HTTP/1.0

	// Transcodes is Google's: what is stored gzipped is unpacked for requests without Accept-Encoding: gzip.
	// Its front ends change that header, so it must not be signed.
	// https://docs.cloud.google.com/storage/docs/transcoding
	Transcodes bool
}

// WeakETag marks an ETag as weak.
func WeakETag(etag string) string { return "W/" + etag }

// UnquotedETag drops an ETag's quotes.
func UnquotedETag(etag string) string { return strings.Trim(etag, `"`) }

// NoETag drops an ETag.
func NoETag(string) string { return "" }

// regionOf is where a bucket is; "" names STS.
func (s *Server) regionOf(bucket string) string {
	if region := s.opt.Service.Regions[bucket]; region != "" {
		return region
	}
	return s.opt.Region
}

// wrongRegion refuses a request that is signed for another region than its bucket's.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html
func (c *call) wrongRegion(want string) *apiError {
	switch c.s.opt.Service.Redirect {
	case 0, http.StatusMovedPermanently:
		c.w.Header().Set("X-Amz-Bucket-Region", want)
		return refuse(http.StatusMovedPermanently, "PermanentRedirect", "The bucket you are attempting to access must be addressed using the specified endpoint. Please send all future requests to this endpoint.",
			[2]string{"Endpoint", "s3." + want + ".amazonaws.com"}, [2]string{"Bucket", c.entry.Bucket})
	case http.StatusTemporaryRedirect:
		c.w.Header().Set("X-Amz-Bucket-Region", want)
		c.w.Header().Set("Location", "https://"+c.entry.Bucket+".s3."+want+".amazonaws.com/"+c.entry.Key)
		return refuse(http.StatusTemporaryRedirect, "TemporaryRedirect", "Please re-send this request to the specified temporary endpoint. Continue to use the original request endpoint for future requests.",
			[2]string{"Endpoint", c.entry.Bucket + ".s3." + want + ".amazonaws.com"})
	}
	return refuse(http.StatusBadRequest, "AuthorizationHeaderMalformed",
		"The authorization header is malformed; the region '"+c.s.opt.Region+"' is wrong; expecting '"+want+"'", [2]string{"Region", want})
}

// refusedBy is what the service refuses although S3 would not.
func (v *Service) refusedBy(c *call) *apiError {
	switch {
	case v.RefuseChecksumMode != 0 && c.Header.Get("X-Amz-Checksum-Mode") != "":
		return refuse(v.RefuseChecksumMode, "NotImplemented", "A header you provided implies functionality that is not implemented.")
	case v.RequesterPays && c.Header.Get("X-Amz-Request-Payer") != "requester" && c.URL.Query().Get("x-amz-request-payer") != "requester":
		return refuse(http.StatusForbidden, "AccessDenied", "Access Denied")
	case v.Transcodes && c.signs("accept-encoding"):
		return refuse(http.StatusForbidden, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided.")
	}
	return nil
}

func (c *call) signs(header string) bool {
	_, signed, _ := strings.Cut(c.Header.Get("Authorization"), "SignedHeaders=")
	signed, _, _ = strings.Cut(signed, ",")
	return strings.Contains(";"+signed+";", ";"+header+";")
}

// transcode unpacks what is stored gzipped, and reports whether it did.
func (c *call) transcode(o *stored) (unpacked []byte, ok bool) {
	if len(o.contentEncoding) == 0 || o.contentEncoding[0] != "gzip" || strings.Contains(c.Header.Get("Accept-Encoding"), "gzip") {
		return nil, false
	}
	zipped, err := gzip.NewReader(bytes.NewReader(o.body))
	if err != nil {
		return nil, false
	}
	unpacked, err = io.ReadAll(zipped)
	return unpacked, err == nil
}
