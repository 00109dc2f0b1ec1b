// The official OpenAI SDK for JavaScript against the proxy, on every upstream dialect.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import OpenAI from 'openai';
import { zodResponseFormat } from 'openai/helpers/zod';
import {
  ANSWER, ASK, BROKEN, DIALECTS, FAILURES, HELLO, KEY, PARAMETERS, PNG, PROXY, Person, RESULTS,
  SAID, THOUGHT, TOOLS, URL,
} from './samples.mjs';

const client = new OpenAI({ baseURL: `${PROXY}/v1`, apiKey: KEY, maxRetries: 0, timeout: 20_000 });
const tools = TOOLS.map((name) => ({ type: 'function', function: { name, parameters: PARAMETERS } }));

const create = (params) => client.chat.completions.create({ messages: HELLO, ...params });
const results = (message) =>
  message.tool_calls.map((call) => ({
    role: 'tool', tool_call_id: call.id, content: `result of ${call.function.name}`,
  }));

// Fields that OpenAI's own API has in an answer and not in a request are left out for it.
const replayed = (to, message) => {
  const { parsed, ...turn } = message;
  turn.tool_calls = turn.tool_calls.map(({ index, function: { parsed_arguments, ...called }, ...call }) => ({
    ...call, function: called,
  }));
  if (to === 'openai') {
    delete turn.annotations;
    delete turn.reasoning_content;
  }
  return turn;
};

for (const to of DIALECTS) {
  const model = `${to}/sim-ok`;

  test(`${to}: chat`, async () => {
    const answer = await create({ model });
    assert.equal(answer.choices[0].message.content, ANSWER);
    assert.equal(answer.choices[0].finish_reason, 'stop');
    assert.ok(answer.usage.prompt_tokens > 0 && answer.usage.completion_tokens === 7);
  });

  test(`${to}: stream`, async () => {
    const stream = await create({ model, stream: true, stream_options: { include_usage: true } });
    let text = '';
    let last;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? '';
      last = chunk;
    }
    assert.equal(text, ANSWER);
    assert.equal(last.usage.completion_tokens, 7);
  });

  test(`${to}: parallel tools and their results`, async () => {
    const first = await create({ model, messages: ASK, tools });
    const { message, finish_reason } = first.choices[0];
    assert.equal(finish_reason, 'tool_calls');
    assert.deepEqual(message.tool_calls.map((call) => call.function.name), TOOLS);
    const messages = [...ASK, replayed(to, message), ...results(message)];
    const last = await create({ model, messages, tools });
    assert.equal(last.choices[0].message.content, RESULTS);
  });

  test(`${to}: structured output is parsed`, async () => {
    const answer = await client.chat.completions.parse({
      model, messages: HELLO, response_format: zodResponseFormat(Person, 'person'),
    });
    Person.parse(answer.choices[0].message.parsed);
  });

  test(`${to}: images`, async () => {
    const ask = (url) => {
      const content = [{ type: 'text', text: SAID }, { type: 'image_url', image_url: { url } }];
      return create({ model, messages: [{ role: 'user', content }] });
    };
    const seen = `${ANSWER} I see 1 image.`;
    const answer = await ask(`data:image/png;base64,${PNG}`);
    assert.equal(answer.choices[0].message.content, seen);
    if (to === 'gemini') {
      await assert.rejects(ask(URL), OpenAI.BadRequestError);
    } else {
      assert.equal((await ask(URL)).choices[0].message.content, seen);
    }
  });

  for (const streamed of [false, true]) {
    test(`${to}: reasoning is shown and replayed, streamed: ${streamed}`, async () => {
      const params = { model, messages: ASK, tools, reasoning_effort: 'low' };
      let thought = '';
      let message;
      if (streamed) {
        // The SDK's helper keeps only the last piece of a field that it does not know: the thought is
        // read from the chunks. The signed one comes whole in the last piece, so it can be replayed.
        const stream = client.chat.completions.stream(params);
        stream.on('chunk', (chunk) => { thought += chunk.choices[0]?.delta.reasoning_content ?? ''; });
        ({ message } = (await stream.finalChatCompletion()).choices[0]);
      } else {
        ({ message } = (await create(params)).choices[0]);
        thought = message.reasoning_content;
      }
      assert.match(thought, THOUGHT);
      const messages = [...ASK, replayed(to, message), ...results(message)];
      const last = await create({ ...params, messages });
      assert.equal(last.choices[0].message.content, RESULTS);
    });
  }

  for (const [failing, raised] of FAILURES) {
    test(`${to}: ${failing} is a ${raised}`, async () => {
      await assert.rejects(create({ model: `${to}/${failing}` }), OpenAI[raised]);
    });
  }

  for (const broken of BROKEN) {
    test(`${to}: ${broken} never looks complete`, async () => {
      const read = async () => {
        const stream = await create({ model: `${to}/${broken}`, stream: true });
        for await (const _chunk of stream);
      };
      await assert.rejects(read, OpenAI.APIError);
    });
  }
}

test('models are listed', async () => {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  assert.ok(ids.includes('openai/sim-ok'));
  assert.equal((await client.models.retrieve('openai/sim-ok')).id, 'openai/sim-ok');
  await assert.rejects(client.models.retrieve('no-such-model'), OpenAI.NotFoundError);
});
