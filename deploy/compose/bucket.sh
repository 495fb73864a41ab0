#!/bin/sh
# Makes the bucket, and the user "tiles", who may read it and nothing else. With arguments, it runs mc with them.
set -eu
mc --quiet alias set minio http://minio:9000 root "$(cat /run/secrets/minio_password)"
if [ $# -gt 0 ]; then
    exec mc "$@"
fi
mc mb --ignore-existing minio/tiles
cat >/tmp/policy.json <<'END'
{"Version": "2012-10-17", "Statement": [
  {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::tiles/*"},
  {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::tiles"}
]}
END
mc admin user add minio tiles "$(cat /run/secrets/tiles_password)"
mc admin policy create minio read-tiles /tmp/policy.json
mc admin policy attach minio read-tiles --user tiles || mc admin policy entities minio --user tiles | grep -q read-tiles
