// Makes a container by Azure's official client, puts blobs of these sizes there, and lists them.
// Arguments: the address of the account, account, key, container, and JSON of sizes by name.
import { BlobServiceClient, StorageSharedKeyCredential } from "@azure/storage-blob";

const [address, account, key, container, sizes] = process.argv.slice(2);
const service = new BlobServiceClient(address, new StorageSharedKeyCredential(account, key));
const client = service.getContainerClient(container);
await client.createIfNotExists();
for (const [name, size] of Object.entries(JSON.parse(sizes))) {
  await client.getBlockBlobClient(name).uploadData(Buffer.alloc(size));
}
const listed = {};
for await (const blob of client.listBlobsFlat()) listed[blob.name] = blob.properties.contentLength;
console.log(JSON.stringify(listed));
