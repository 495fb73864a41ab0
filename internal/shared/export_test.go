package shared

import "github.com/redis/go-redis/v9"

// AddHook has a hook see what is sent to Redis.
func (c *Client) AddHook(h redis.Hook) { c.redis.AddHook(h) }
