package fakeaws

import (
	"crypto/hmac"
	"crypto/md5" //nolint:gosec // it is S3's ETag, not a protection
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"hash/crc32"
	"hash/crc64"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Object is what a key holds.
type Object struct {
	Body            []byte
	ContentType     string // default binary/octet-stream, S3's own
	ContentEncoding string
	LastModified    time.Time // default: the clock's now; S3 keeps whole seconds
	ETag            string    // with quotes; default the body's MD5, as for a simple upload
	Checksum        string    // CRC32 (default, the SDKs' choice), CRC64NVME (S3's own) or none
}

// stored is an object with its response headers prepared.
type stored struct {
	body            []byte
	etag            string
	modified        time.Time
	checksumName    string
	etagHeader      []string
	modifiedHeader  []string
	contentType     []string
	contentEncoding []string
	checksum        []string
}

const maxPutBytes = 64 << 20

var (
	acceptRanges = []string{"bytes"}
	serverName   = []string{"AmazonS3"}
	encryption   = []string{"AES256"}
	fullObject   = []string{"FULL_OBJECT"}
	crc64NVME    = crc64.MakeTable(0x9A6C9329AC4BC9B5)
)

func (s *Server) prepare(o Object) *stored {
	if o.LastModified.IsZero() {
		o.LastModified = s.opt.Clock()
	}
	if o.ETag == "" {
		sum := md5.Sum(o.Body) //nolint:gosec // as above
		o.ETag = `"` + hex.EncodeToString(sum[:]) + `"`
	}
	if o.ContentType == "" {
		o.ContentType = "binary/octet-stream"
	}
	out := &stored{body: o.Body, etag: o.ETag, modified: o.LastModified.UTC().Truncate(time.Second), contentType: []string{o.ContentType}}
	out.etagHeader = []string{out.etag}
	out.modifiedHeader = []string{out.modified.Format(http.TimeFormat)}
	if o.ContentEncoding != "" {
		out.contentEncoding = []string{o.ContentEncoding}
	}
	switch o.Checksum {
	case "", "CRC32":
		out.checksumName = "X-Amz-Checksum-Crc32"
		out.checksum = []string{crc32Of(o.Body)}
	case "CRC64NVME":
		out.checksumName = "X-Amz-Checksum-Crc64nvme"
		out.checksum = []string{base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint64(nil, crc64.Checksum(o.Body, crc64NVME)))}
	}
	return out
}

func crc32Of(body []byte) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(body)))
}

// operation is what an S3 request asks for.
type operation struct {
	name   string
	action string   // what a policy has to allow
	query  []string // parameters it knows; others are refused
	run    func(*Server, *call, url.Values) *apiError
}

var (
	objectQuery = []string{"response-content-type", "response-content-disposition", "response-content-encoding", "response-content-language", "response-cache-control", "response-expires"}
	listQuery   = []string{"list-type", "prefix", "delimiter", "max-keys", "start-after", "continuation-token"}
)

func operationOf(method, bucket, key string, query url.Values) *operation {
	switch {
	case bucket == "":
	case key != "" && method == http.MethodGet:
		return &operation{"GetObject", "s3:GetObject", objectQuery, (*Server).getObject}
	case key != "" && method == http.MethodHead:
		return &operation{"HeadObject", "s3:GetObject", objectQuery, (*Server).getObject}
	case key != "" && method == http.MethodPut:
		return &operation{"PutObject", "s3:PutObject", nil, (*Server).putObject}
	case key != "" && method == http.MethodDelete:
		return &operation{"DeleteObject", "s3:DeleteObject", nil, (*Server).deleteObject}
	case key == "" && method == http.MethodHead:
		return &operation{"HeadBucket", "s3:ListBucket", nil, (*Server).headBucket}
	case key == "" && method == http.MethodGet && query.Has("location"):
		return &operation{"GetBucketLocation", "s3:GetBucketLocation", []string{"location"}, (*Server).getBucketLocation}
	case key == "" && method == http.MethodGet && query.Get("list-type") == "2":
		return &operation{"ListObjectsV2", "s3:ListBucket", listQuery, (*Server).listObjects}
	}
	return nil
}

func (s *Server) serveS3(c *call) {
	header := c.w.Header()
	header["Server"] = serverName
	header["X-Amz-Request-Id"] = []string{c.id}
	bucket, key := s.address(c.Request)
	query, err := url.ParseQuery(c.URL.RawQuery)
	op := operationOf(c.Method, bucket, key, query)
	request := Request{Bucket: bucket, Key: key, Header: c.Header, Time: c.now}
	if op != nil {
		request.Op = op.name
	}
	c.entry = s.log.arrived(request)
	if err != nil {
		c.refuseS3(refuse(http.StatusBadRequest, "InvalidURI", "Couldn't parse the specified URI."))
		return
	}
	if refused := s.handleS3(c, op, query); refused != nil {
		c.refuseS3(refused)
	}
}

func (s *Server) handleS3(c *call, op *operation, query url.Values) *apiError {
	payloadHash := c.Header.Get("X-Amz-Content-Sha256")
	if payloadHash == "" {
		if c.Header.Get("Authorization") != "" && !query.Has("X-Amz-Algorithm") {
			return refuse(http.StatusBadRequest, "InvalidRequest", "Missing required header for this request: x-amz-content-sha256")
		}
		payloadHash = unsigned
	}
	who, refused := s.authenticate(c, "s3", payloadHash, query)
	if refused != nil {
		return refused
	}
	bucket := c.entry.Bucket
	s.mu.RLock()
	_, exists := s.buckets[bucket]
	s.mu.RUnlock()
	switch { // anybody may learn which buckets exist
	case bucket != "" && !exists:
		return refuse(http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist", [2]string{"BucketName", bucket})
	case who == nil && s.opt.Service.Public:
		who = &identity{arn: "*", policies: []*policy{publicPolicy}}
	case who == nil:
		return refuse(http.StatusForbidden, "AccessDenied", "Access Denied")
	}
	if op == nil {
		return notImplemented(c.Method + " on this resource")
	}
	for name := range query {
		if !strings.HasPrefix(name, "X-Amz-") && name != "x-amz-request-payer" && name != "x-id" && !slices.Contains(op.query, name) {
			return notImplemented("the query parameter " + name + " of " + op.name)
		}
	}
	c.who = who
	s.log.verified(c.entry, who)
	wanted := action{name: op.action, resource: "arn:aws:s3:::" + bucket}
	switch {
	case c.entry.Key != "":
		wanted.resource += "/" + c.entry.Key
	case query.Has("prefix"):
		wanted.prefix = new(query.Get("prefix"))
	}
	if !who.allowed(wanted) {
		return denied(who, wanted)
	}
	if refused := s.opt.Service.refusedBy(c); refused != nil {
		return refused
	}
	if refused, answered := c.meetFault(); refused != nil || answered {
		return refused
	}
	return op.run(s, c, query)
}

var publicPolicy, _ = parsePolicy(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:GetObject","s3:ListBucket"],"Resource":"*"}]}`)

func denied(who *identity, wanted action) *apiError {
	return refuse(http.StatusForbidden, "AccessDenied",
		fmt.Sprintf("User: %s is not authorized to perform: %s on resource: %q because no identity-based policy allows the %s action", who.arn, wanted.name, wanted.resource, wanted.name))
}

// address takes bucket and key out of the path, or the bucket out of the host.
func (s *Server) address(r *http.Request) (bucket, key string) {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	path := strings.TrimPrefix(r.URL.Path, "/")
	for _, endpoint := range []string{"localhost", "s3." + s.opt.Region + ".amazonaws.com", "s3.amazonaws.com"} {
		if bucket, ok := strings.CutSuffix(host, "."+endpoint); ok {
			return bucket, path
		}
	}
	bucket, key, _ = strings.Cut(path, "/")
	return bucket, key
}

// find is the object, or the refusal that the caller may know of: without s3:ListBucket nobody
// learns that a key is absent.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
func (s *Server) find(c *call) (*stored, *apiError) {
	bucket, key := c.entry.Bucket, c.entry.Key
	s.mu.RLock()
	o := s.buckets[bucket][key]
	s.mu.RUnlock()
	if o != nil {
		return o, nil
	}
	if s.opt.Lookup != nil {
		if made, ok := s.opt.Lookup(bucket, key); ok {
			return s.prepare(made), nil
		}
	}
	list := action{name: "s3:ListBucket", resource: "arn:aws:s3:::" + bucket}
	if !c.who.allowed(list) {
		return nil, denied(c.who, list)
	}
	return nil, refuse(http.StatusNotFound, "NoSuchKey", "The specified key does not exist.", [2]string{"Key", key})
}

// getObject is GetObject and HeadObject.
func (s *Server) getObject(c *call, query url.Values) *apiError {
	o, refused := s.find(c)
	if refused != nil {
		return refused
	}
	if c.fault != nil && c.fault.Mutate != nil {
		s.Put(c.entry.Bucket, c.entry.Key, *c.fault.Mutate)
	}
	service := &s.opt.Service
	if condition := failedPrecondition(c.Header, o); condition != "" && !service.IgnoreConditions {
		return refuse(http.StatusPreconditionFailed, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold", [2]string{"Condition", condition})
	}
	header := c.w.Header()
	header["Etag"] = o.etagHeader
	if service.ETag != nil {
		if header["Etag"] = []string{service.ETag(o.etag)}; header["Etag"][0] == "" {
			delete(header, "Etag")
		}
	}
	if !service.NoLastModified {
		header["Last-Modified"] = o.modifiedHeader
	}
	switch {
	case notModified(c.Header, o) && !service.IgnoreConditions && service.FailNotModified:
		return refuse(http.StatusPreconditionFailed, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold", [2]string{"Condition", "If-None-Match"})
	case notModified(c.Header, o) && !service.IgnoreConditions, c.fault != nil && c.fault.NotModified:
		c.begin(http.StatusNotModified)
		return nil
	}
	if unpacked, ok := c.transcode(o); ok && service.Transcodes {
		header["Content-Type"] = o.contentType
		header["Warning"] = []string{"214 UploadServer gunzipped"}
		header["Etag"] = []string{WeakETag(o.etag)}
		c.unsized = true
		c.respond(http.StatusOK, unpacked)
		return nil
	}
	wanted := c.Header.Get("Range")
	if service.IgnoreRange {
		wanted = ""
	}
	first, end, status := byteRange(wanted, int64(len(o.body)))
	if status == http.StatusRequestedRangeNotSatisfiable {
		delete(header, "Etag")
		delete(header, "Last-Modified")
		return refuse(status, "InvalidRange", "The requested range is not satisfiable",
			[2]string{"RangeRequested", c.Header.Get("Range")}, [2]string{"ActualObjectSize", strconv.Itoa(len(o.body))})
	}
	header["Accept-Ranges"] = acceptRanges
	header["X-Amz-Server-Side-Encryption"] = encryption
	header["Content-Type"] = o.contentType
	if o.contentEncoding != nil {
		header["Content-Encoding"] = o.contentEncoding
	}
	if status == http.StatusPartialContent {
		header["Content-Range"] = []string{fmt.Sprintf("bytes %d-%d/%d", first, end-1, len(o.body))}
	} else if o.checksum != nil && strings.EqualFold(c.Header.Get("X-Amz-Checksum-Mode"), "ENABLED") {
		header[o.checksumName] = o.checksum
		header["X-Amz-Checksum-Type"] = fullObject
	}
	for _, name := range overrides(query) {
		header.Set(strings.TrimPrefix(name, "response-"), query.Get(name))
	}
	if service.UntilClose {
		header["Transfer-Encoding"] = []string{"identity"} // net/http's word for it
	}
	c.unsized = service.Unsized || service.UntilClose
	c.respond(status, o.body[first:end])
	return nil
}

// overrides are the response headers that a signed request asks to be different.
func overrides(query url.Values) (names []string) {
	for _, name := range objectQuery {
		if query.Has(name) {
			names = append(names, name)
		}
	}
	return names
}

// failedPrecondition names the condition that calls for 412, with RFC 9110's precedence (13.2.2):
// If-Match, when there, silences If-Unmodified-Since.
func failedPrecondition(h http.Header, o *stored) string {
	if want := h.Get("If-Match"); want != "" {
		if !sameETag(want, o.etag) {
			return "If-Match"
		}
		return ""
	}
	if t, err := http.ParseTime(h.Get("If-Unmodified-Since")); err == nil && o.modified.After(t) {
		return "If-Unmodified-Since"
	}
	return ""
}

func notModified(h http.Header, o *stored) bool {
	if have := h.Get("If-None-Match"); have != "" {
		return sameETag(have, o.etag)
	}
	t, err := http.ParseTime(h.Get("If-Modified-Since"))
	return err == nil && !o.modified.After(t)
}

// sameETag: S3 takes the ETag with or without its quotes, and *.
func sameETag(given, etag string) bool {
	return given == "*" || strings.Trim(given, `"`) == strings.Trim(etag, `"`)
}

// byteRange is the half-open range that a Range header asks for, and 200, 206 or 416. What S3
// doesn't understand, several ranges included, it ignores.
func byteRange(header string, size int64) (first, end int64, status int) {
	spec, ok := strings.CutPrefix(header, "bytes=")
	from, to, dash := strings.Cut(spec, "-")
	if !ok || !dash || strings.Contains(spec, ",") {
		return 0, size, http.StatusOK
	}
	a, errA := strconv.ParseUint(from, 10, 62) // unlike ParseInt it takes no sign
	b, errB := strconv.ParseUint(to, 10, 62)
	first, last := int64(a), int64(b)
	switch {
	case from == "" && errB == nil: // that many at the end
		first, end = max(0, size-last), size
		if last == 0 {
			first = size
		}
	case errA == nil && to == "":
		end = size
	case errA == nil && errB == nil && first <= last:
		end = min(last+1, size)
	default:
		return 0, size, http.StatusOK
	}
	if first >= size {
		return 0, 0, http.StatusRequestedRangeNotSatisfiable
	}
	return first, end, http.StatusPartialContent
}

func (s *Server) putObject(c *call, _ url.Values) *apiError {
	if strings.HasPrefix(c.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") {
		return notImplemented("uploads in signed chunks")
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.w, c.Body, maxPutBytes))
	if err != nil {
		return refuse(http.StatusBadRequest, "IncompleteBody", "The request body terminated unexpectedly or is too large")
	}
	if want := c.Header.Get("X-Amz-Content-Sha256"); want != "" && want != unsigned {
		if sum := sha256.Sum256(body); !hmac.Equal([]byte(hex.EncodeToString(sum[:])), []byte(want)) {
			return refuse(http.StatusBadRequest, "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed.")
		}
	}
	if want := c.Header.Get("X-Amz-Checksum-Crc32"); want != "" && want != crc32Of(body) {
		return refuse(http.StatusBadRequest, "BadDigest", "The CRC32 you specified did not match the calculated checksum.")
	}
	s.Put(c.entry.Bucket, c.entry.Key, Object{Body: body, ContentType: c.Header.Get("Content-Type"), ContentEncoding: c.Header.Get("Content-Encoding")})
	o, refused := s.find(c)
	if refused != nil {
		return refused
	}
	c.w.Header()["Etag"] = o.etagHeader
	c.respond(http.StatusOK, nil)
	return nil
}

func (s *Server) deleteObject(c *call, _ url.Values) *apiError {
	s.Delete(c.entry.Bucket, c.entry.Key)
	c.begin(http.StatusNoContent)
	return nil
}

func (s *Server) headBucket(c *call, _ url.Values) *apiError {
	c.w.Header().Set("X-Amz-Bucket-Region", s.opt.Region)
	c.respond(http.StatusOK, nil)
	return nil
}

const s3Namespace = "http://s3.amazonaws.com/doc/2006-03-01/"

func (s *Server) getBucketLocation(c *call, _ url.Values) *apiError {
	region := s.opt.Region
	if region == "us-east-1" { // the oldest region has no name here
		region = ""
	}
	return c.respondXML(struct {
		XMLName xml.Name `xml:"LocationConstraint"`
		Xmlns   string   `xml:"xmlns,attr"`
		Region  string   `xml:",chardata"`
	}{Xmlns: s3Namespace, Region: region})
}

type listResult struct {
	XMLName               xml.Name `xml:"ListBucketResult"`
	Xmlns                 string   `xml:"xmlns,attr"`
	Name, Prefix          string
	Delimiter             string `xml:",omitempty"`
	StartAfter            string `xml:",omitempty"`
	ContinuationToken     string `xml:",omitempty"`
	NextContinuationToken string `xml:",omitempty"`
	KeyCount, MaxKeys     int
	IsTruncated           bool
	Contents              []listEntry
	CommonPrefixes        []struct{ Prefix string }
}

type listEntry struct {
	Key          string
	LastModified string
	ETag         string
	Size         int
	StorageClass string
}

func (s *Server) listObjects(c *call, query url.Values) *apiError {
	result := listResult{
		Xmlns: s3Namespace, Name: c.entry.Bucket, Prefix: query.Get("prefix"), Delimiter: query.Get("delimiter"),
		StartAfter: query.Get("start-after"), ContinuationToken: query.Get("continuation-token"), MaxKeys: 1000,
	}
	if query.Has("max-keys") {
		n, err := strconv.Atoi(query.Get("max-keys"))
		if err != nil || n < 0 {
			return refuse(http.StatusBadRequest, "InvalidArgument", "Provided max-keys not an integer or within integer range", [2]string{"ArgumentName", "max-keys"})
		}
		result.MaxKeys = min(n, 1000)
	}
	after := result.StartAfter
	if result.ContinuationToken != "" {
		token, err := base64.URLEncoding.DecodeString(result.ContinuationToken)
		if err != nil {
			return refuse(http.StatusBadRequest, "InvalidArgument", "The continuation token provided is incorrect")
		}
		after = string(token)
	}

	s.mu.RLock()
	objects := s.buckets[c.entry.Bucket]
	keys := make([]string, 0, len(objects))
	for key := range objects {
		if strings.HasPrefix(key, result.Prefix) && key > after {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	last := ""
	for _, key := range keys {
		group := ""
		if i := strings.Index(key[len(result.Prefix):], result.Delimiter); result.Delimiter != "" && i >= 0 {
			group = key[:len(result.Prefix)+i+len(result.Delimiter)]
			if n := len(result.CommonPrefixes); n > 0 && result.CommonPrefixes[n-1].Prefix == group || strings.HasPrefix(after, group) {
				last = key
				continue
			}
		}
		if result.KeyCount == result.MaxKeys {
			result.IsTruncated = result.MaxKeys > 0
			break
		}
		result.KeyCount++
		last = key
		if group != "" {
			result.CommonPrefixes = append(result.CommonPrefixes, struct{ Prefix string }{group})
			continue
		}
		o := objects[key]
		result.Contents = append(result.Contents, listEntry{key, o.modified.Format("2006-01-02T15:04:05.000Z"), o.etag, len(o.body), "STANDARD"})
	}
	s.mu.RUnlock()
	if result.IsTruncated {
		result.NextContinuationToken = base64.URLEncoding.EncodeToString([]byte(last))
	}
	return c.respondXML(result)
}

func (c *call) respondXML(document any) *apiError {
	body, err := xml.Marshal(document)
	if err != nil {
		return refuse(http.StatusInternalServerError, "InternalError", err.Error())
	}
	c.w.Header().Set("Content-Type", "application/xml")
	c.respond(http.StatusOK, append([]byte(xml.Header), body...))
	return nil
}

// refuseS3 writes S3's error document; the answer to a HEAD has no body.
// https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
func (c *call) refuseS3(e *apiError) {
	c.w.Header().Set("Content-Type", "application/xml")
	var b strings.Builder
	b.WriteString(xml.Header + "<Error>")
	for _, element := range append([][2]string{{"Code", e.code}, {"Message", e.message}}, append(e.detail, [2]string{"RequestId", c.id}, [2]string{"HostId", "fakeaws"})...) {
		b.WriteString("<" + element[0] + ">")
		_ = xml.EscapeText(&b, []byte(element[1])) // a strings.Builder does not fail
		b.WriteString("</" + element[0] + ">")
	}
	b.WriteString("</Error>")
	c.respond(e.status, []byte(b.String()))
}
