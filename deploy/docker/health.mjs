// Asks the process in this container whether it lives; for Docker's HEALTHCHECK, as the image has no other tool.
import { get } from 'node:http';
import process from 'node:process';

process.exitCode = 1;
get({ port: process.env.HTTP_PORT, path: '/livez' }, (answer) => {
  if (answer.statusCode === 200) process.exitCode = 0;
  answer.resume();
}).on('error', () => undefined);
