// What the tests of both JavaScript SDKs say.

import { z } from 'zod';

export const PROXY = process.env.PROXY;
export const KEY = process.env.CLIENT_KEY;
export const DIALECTS = ['openai', 'anthropic', 'gemini'];

export const SAID = `Hello ${process.env.PROMPT}`;
export const HELLO = [{ role: 'user', content: SAID }];
export const ANSWER = `Hello from sim-ok. You said: ${SAID}`;

export const TOOLS = ['alpha', 'beta'];
export const ASK = [{ role: 'user', content: `use alpha and beta ${process.env.PROMPT}` }];
export const RESULTS = 'The tool said result of alpha, result of beta';
export const PARAMETERS = {
  type: 'object',
  properties: { name: { type: 'string' } },
  required: ['name'],
  additionalProperties: false,
};

export const PNG =
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
export const URL = 'https://example.com/a.png';

// An answer that an SDK's own parse helper makes of JSON.
export const Person = z.object({ name: z.string(), age: z.number(), tags: z.array(z.string()) });

export const THOUGHT = /^Let me think about this/;

// What a failure of the provider is to a client, in words that both SDKs use for their classes. A
// refused key of ours is no fault of the client, which could do nothing about a 401.
export const FAILURES = [
  ['sim-400', 'BadRequestError'],
  ['sim-401', 'InternalServerError'],
  ['sim-404', 'NotFoundError'],
  ['sim-429', 'RateLimitError'],
  ['sim-500', 'InternalServerError'],
  ['sim-529', 'InternalServerError'],
  ['sim-reset', 'InternalServerError'],
  ['sim-silent', 'InternalServerError'],
  ['unknown', 'NotFoundError'],
];
export const BROKEN = ['sim-cut-3', 'sim-error-3', 'sim-malformed-3', 'sim-stall-3'];
