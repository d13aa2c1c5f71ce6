// The first import of the worker. Process 1 of a container never gets a signal that it does not
// listen to, and loading the SDK takes a second. This listener keeps a SIGTERM of that second until
// the SDK listens.
process.on('SIGTERM', () => {});
