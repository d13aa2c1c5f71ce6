// Bundles the workflows when the image is built. A worker that starts does not have to.
import { writeFileSync } from 'node:fs';
import { bundleWorkflowCode } from '@temporalio/worker';

async function main() {
  const { code } = await bundleWorkflowCode({ workflowsPath: require.resolve('./workflows') });
  writeFileSync(`${__dirname}/workflow-bundle.js`, code);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
