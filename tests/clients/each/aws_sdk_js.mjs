// What the AWS SDK for JavaScript v3 does; prints what was done, and throws at the first difference.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import * as s3 from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";

const MiB = 1024 * 1024;
const { ENDPOINT, BUCKET: Bucket, PATH_STYLE, AWS_REGION } = process.env;
const client = new s3.S3Client({
  endpoint: ENDPOINT, region: AWS_REGION, forcePathStyle: PATH_STYLE === "1", maxAttempts: 1,
});
const send = (Command, input) => client.send(new s3[`${Command}Command`](input));
const bytes = (size) => createHash("shake128", { outputLength: size }).update(`${size}`).digest();
const read = async (answer) => Buffer.from(await answer.Body.transformToByteArray());

await send("CreateBucket", { Bucket });

const small = bytes(70_000);
const Key = "dir/naïve key+&=%41 (1)!*'.txt";
const put = await send("PutObject", {
  Bucket, Key, Body: small, ContentType: "text/x", Metadata: { colour: "blue" }, Tagging: "a=1",
});
const got = await send("GetObject", { Bucket, Key, ChecksumMode: "ENABLED" });
assert.deepEqual(await read(got), small);
assert.equal(got.ChecksumCRC32, put.ChecksumCRC32);
assert.equal(got.ContentType, "text/x");
assert.deepEqual(got.Metadata, { colour: "blue" });
const ranged = await send("GetObject", { Bucket, Key, Range: "bytes=10-19" });
assert.deepEqual(await read(ranged), small.subarray(10, 20));
const tags = await send("GetObjectTagging", { Bucket, Key });
assert.deepEqual(tags.TagSet, [{ Key: "a", Value: "1" }]);
await assert.rejects(send("GetObject", { Bucket, Key: "none" }), { name: "NoSuchKey" });
await assert.rejects(send("PutObject", { Bucket, Key, Body: "x", IfNoneMatch: "*" }),
  { name: "PreconditionFailed" });

// A stream of unknown length: parts, each with a checksum in its trailer.
const large = bytes(13 * MiB);
await new Upload({
  client, partSize: 5 * MiB, queueSize: 3,
  params: { Bucket, Key: "large", Body: Readable.from([large.subarray(0, 777), large.subarray(777)]) },
}).done();
assert.deepEqual(await read(await send("GetObject", { Bucket, Key: "large" })), large);
const second = await send("GetObject", { Bucket, Key: "large", PartNumber: 2 });
assert.equal(second.PartsCount, 3);
assert.deepEqual(await read(second), large.subarray(5 * MiB, 10 * MiB));
await send("CopyObject", { Bucket, Key: "copy", CopySource: `${Bucket}/large` });
assert.equal((await send("HeadObject", { Bucket, Key: "copy" })).ContentLength, large.length);

for (let n = 0; n < 25; n++) await send("PutObject", { Bucket, Key: `list/${n % 2}/é${n}`, Body: "x" });
const keys = [];
for await (const page of s3.paginateListObjectsV2({ client, pageSize: 7 }, { Bucket, Prefix: "list/" }))
  keys.push(...page.Contents.map((entry) => entry.Key));
assert.equal(keys.length, 25);
const folded = await send("ListObjectsV2", { Bucket, Prefix: "list/", Delimiter: "/" });
assert.deepEqual(folded.CommonPrefixes.map((entry) => entry.Prefix), ["list/0/", "list/1/"]);

const putUrl = await getSignedUrl(client, new s3.PutObjectCommand({ Bucket, Key: "signed" }));
assert.equal((await fetch(putUrl, { method: "PUT", body: "by URL" })).status, 200);
const getUrl = await getSignedUrl(client, new s3.GetObjectCommand({ Bucket, Key: "signed" }));
assert.equal(await (await fetch(getUrl)).text(), "by URL");

await send("PutBucketVersioning", { Bucket, VersioningConfiguration: { Status: "Enabled" } });
const v = await send("PutObject", { Bucket, Key: "copy", Body: "2" });
await send("DeleteObject", { Bucket, Key: "copy" });
await assert.rejects(send("GetObject", { Bucket, Key: "copy" }), { name: "NoSuchKey" });
const old = await send("GetObject", { Bucket, Key: "copy", VersionId: v.VersionId });
assert.equal(await old.Body.transformToString(), "2");
const all = await send("ListObjectVersions", { Bucket });
const Objects = [...all.Versions, ...all.DeleteMarkers].map(({ Key, VersionId }) => ({ Key, VersionId }));
const gone = await send("DeleteObjects", { Bucket, Delete: { Objects } });
assert.equal(gone.Deleted.length, Objects.length);
await send("DeleteBucket", { Bucket });
await assert.rejects(send("HeadBucket", { Bucket }), { name: "NotFound" });

console.log("put, get, ranges, conditions, metadata, tags, multipart of a stream with trailing checksums, "
  + "parts by number, copy, pages, presigned PUT and GET, versions, bulk deletion");
