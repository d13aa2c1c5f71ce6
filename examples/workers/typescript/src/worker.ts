// A worker for the task queue of a TaskQueueWorker.
import './sigterm';
import { loadClientConnectConfig } from '@temporalio/envconfig';
import { NativeConnection, Runtime, Worker, type WorkerOptions } from '@temporalio/worker';
import * as activities from './activities';

async function main() {
  const taskQueue = process.env.TEMPORAL_TASK_QUEUE;
  if (!taskQueue) throw new Error('TEMPORAL_TASK_QUEUE is not set');

  // The operator counts what runs by these heartbeats. The SDK's default is 60 s.
  Runtime.install({ workerHeartbeatInterval: '5s' });

  // Reads TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_TLS_* and TEMPORAL_API_KEY.
  const { connectionOptions, namespace } = loadClientConnectConfig();
  const connection = await NativeConnection.connect(connectionOptions);
  try {
    const worker = await Worker.create({
      connection,
      namespace,
      taskQueue,
      activities,
      workflowBundle: { codePath: `${__dirname}/workflow-bundle.js` },
      maxConcurrentActivityTaskExecutions: number('WORKER_SLOTS', 10),
      // Running activities may take this long after SIGTERM. The SDK's default is 0.
      shutdownGraceTime: number('TASKQUEUE_DRAIN_GRACE_PERIOD_SECONDS', 30) * 1000,
      ...versioning(),
    });
    // Returns after SIGTERM, when the running activities have ended.
    await worker.run();
  } finally {
    await connection.close();
  }
}

function versioning(): Pick<WorkerOptions, 'workerDeploymentOptions'> {
  const deploymentName = process.env.TEMPORAL_DEPLOYMENT_NAME;
  const buildId = process.env.TEMPORAL_WORKER_BUILD_ID;
  if (!deploymentName || !buildId) return {};
  return {
    workerDeploymentOptions: {
      version: { deploymentName, buildId },
      useWorkerVersioning: true,
      defaultVersioningBehavior: 'AUTO_UPGRADE',
    },
  };
}

function number(variable: string, fallback: number): number {
  const value = Number(process.env[variable] || fallback);
  if (!Number.isInteger(value) || value < 0) throw new Error(`${variable} is not a whole number`);
  return value;
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
