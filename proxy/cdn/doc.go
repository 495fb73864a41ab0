// Package cdn purges tags at CloudFront, Fastly and Cloudflare.
//
// A Purger sends tags in batches as large as its CDN documents. What fails for a passing reason is sent again: three attempts of a
// batch, with pauses as the CDN asks for, and never beyond the end of the context. No error holds a credential.
package cdn
