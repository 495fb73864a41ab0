module tilegate/internal/bench/hitratio

go 1.26.4

require (
	github.com/maypok86/otter/v2 v2.4.0
	tilegate v0.0.0
)

require github.com/hashicorp/golang-lru/v2 v2.0.7 // indirect

replace tilegate => ../../..
