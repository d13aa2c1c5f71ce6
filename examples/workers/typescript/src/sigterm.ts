// The first import of the worker. Process 1 of a container never sees a signal that it does not
// listen to, and loading the SDK takes a second. A SIGTERM of that second is kept by this listener,
// and passed to the SDK's own.
process.on('SIGTERM', () => {});
